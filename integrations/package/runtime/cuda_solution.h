#pragma once

// A solution of the cuda target, its device binary loaded on a card.

#include <memory>

#include "integrations/package/runtime/cuda_card.h"
#include "integrations/package/runtime/solution.h"

namespace fib::package {

// Card and shape outlive the solution.
Result<std::unique_ptr<Solution>> load_cuda_solution(CudaCard& card, const OpShape& shape,
                                                     const SolutionRow& row,
                                                     const DeviceBinary& binary);

}  // namespace fib::package
