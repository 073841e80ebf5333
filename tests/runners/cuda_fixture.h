#pragma once

// What the cuda tests share: the runner over a cache folder of their own, candidates, problems.

#include <gtest/gtest.h>

#include "runners/cuda/cuda_runner.h"
#include "signatures/base/file.h"
#include "signatures/catalog.h"

namespace fib {

inline const std::filesystem::path kSource = FIB_SOURCE_DIR;

// Shared by all test programs: the harness's kernels take seconds to compile.
inline const std::filesystem::path kTestCache =
    std::filesystem::path(FIB_BINARY_DIR) / "cuda-test-cache";

inline CudaRunnerOptions cuda_options(const std::filesystem::path& cache) {
  return {.runner = {.cache_folder = cache,
                     .worker_executable = FIB_TEST_WORKER,
                     .include_folder = kSource / "harness/abi"},
          .device_source_folder = kSource / "runners/cuda/device"};
}

// RMSNorm from tests/runners/cuda_candidates with the given -D flags.
inline Solution candidate(const std::vector<std::string>& defines) {
  const std::filesystem::path folder = kSource / "tests/runners/cuda_candidates";
  Solution solution;
  solution.name = "candidate";
  solution.definition = "rmsnorm_h4096";
  solution.author = "test";
  Json flags = Json::array();
  for (const std::string& define : defines) {
    solution.name += "-" + define;
    flags.push_back("-D" + define);
  }
  solution.fib = {{"target", "cuda"},
                  {"entry", "kernel.cu"},
                  {"plan", "plan.cpp"},
                  {"kernels", {"rms", "breaks", "rms_tma", "copy_weight"}}};
  if (!flags.empty()) solution.fib["flags"] = flags;
  for (const char* file : {"kernel.cu", "plan.cpp"}) {
    solution.sources.push_back({file, *read_file(folder / file)});
  }
  return solution;
}

inline Catalog builtin_catalog() { return *Catalog::builtin(kSource / "signatures/definitions"); }

inline Problem rmsnorm_problem(const Catalog& catalog, int64_t rows) {
  Workload workload;
  workload.uuid = "test";
  workload.axes = {{"batch_size", rows}};
  return *fib::bind(*catalog.find("rmsnorm_h4096"), workload);
}

}  // namespace fib
