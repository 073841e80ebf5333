#pragma once

// Cards as targets of a package. open_cuda_target() of targets.h finds the driver and comes here.

#include <memory>

#include "integrations/package/runtime/solution.h"
#include "runners/launch/cuda_driver.h"
#include "runners/launch/device_facts.h"

namespace fib::package {

Result<std::unique_ptr<Target>> open_cuda_target(CudaDriverPtr driver, int device_id);

// The binary that runs best on the card: one of just its architecture ("sm_90a"), else of the
// highest that it still runs ("sm_80" on 8.6). nullptr: none runs.
const DeviceBinary* choose_binary(Rows<DeviceBinary> binaries, const FibPlanDevice& device);

}  // namespace fib::package
