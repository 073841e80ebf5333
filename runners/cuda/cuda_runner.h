#pragma once

// The cuda target: device solutions (sources compiled by NVRTC, a plan computed in a locked-down
// process) on NVIDIA cards. Without a card, a driver or CUDA's headers at build time everything
// here still answers, with the reason and the remedy.

#include <memory>

#include "harness/runner.h"
#include "runners/cuda/libraries.h"

namespace fib {

struct CudaRunnerOptions {
  RunnerOptions runner;
  CudaSearch search;
  // The harness's own kernels, runners/cuda/device of the source tree or the installation.
  std::filesystem::path device_source_folder;
  int max_compiles = 2;  // NVRTC processes
  // Added to that of device workers: what lets a profiler around this process reach them too.
  std::vector<std::pair<std::string, std::string>> worker_environment;
};

std::unique_ptr<Runner> make_cuda_runner(CudaRunnerOptions options);

// For `fib doctor`. Starts a short-lived worker.
CudaStatus probe_cuda(const CudaRunnerOptions& options);

}  // namespace fib
