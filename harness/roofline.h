#pragma once

// The physical floor of a call: the signature's cost model, evaluated for this very input, over
// the device's ceilings.

#include "harness/verdict.h"

namespace fib {

struct CallCost {
  double bytes = 0.0;         // that must cross device memory at least once
  double output_bytes = 0.0;  // of those, written
  double flops = 0.0;
  bool uses_tensor_cores = false;
};

Result<CallCost> call_cost(const Problem& problem, const InputSet& inputs);

// An empty roofline (floor 0) where the signature has no cost model or the ceilings are unknown.
Roofline roofline_of(const Problem& problem, const InputSet& inputs, const DeviceInfo& device);

// The time below which a measurement can't be true: outputs that fit in the L2 may still be there
// when the clock stops, so their bytes don't count. Where the ceilings were measured, and so are no
// physical limits, it is a small part of what memory would take: only a clock gone wrong is below.
double impossible_below_ns(const CallCost& cost, const DeviceInfo& device);

}  // namespace fib
