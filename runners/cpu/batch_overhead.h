#pragma once

// What a batch costs beside its calls: the pipe to the worker and back.

#include <span>

namespace fib {

// From the times of empty batches, which are subtracted from those of real ones. On a busy machine
// some of them wait for a processor while the real ones may not: a middle one would then be more
// than a real batch takes, and a kernel would seem to need no time at all. So it is one of the
// shortest. What it leaves in makes a kernel look slower, never faster.
double batch_overhead_ns(std::span<const double> empty_batches_ns);

}  // namespace fib
