#pragma once

// How the figures of workloads become one figure of a solution: by traffic, with an interval.

namespace fib {

// Half width of a 95 % interval in standard errors.
inline constexpr double kZ95 = 1.96;

// A workload that was never seen in traffic still counts, next to nothing.
inline constexpr double kLeastWeight = 1e-9;

}  // namespace fib
