#pragma once

// Plans of cuda solutions, computed in the plan process and checked, kept by artifact, problem
// structure and device.

#include "runners/cuda/cuda_session.h"

namespace fib {

CudaPlanner make_cuda_planner(const RunnerOptions& options);

}  // namespace fib
