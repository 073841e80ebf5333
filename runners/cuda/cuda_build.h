#pragma once

// Compiling a cuda solution: its kernels by NVRTC and its plan.cpp by the host compiler, side by
// side, into one entry of the build cache:
//   kernels.cubin   the device binary
//   plan.so         the plan, for the plan process
//   build.json      name expression -> symbol, ptxas's figures, warnings

#include <optional>

#include "harness/runner.h"
#include "runners/cuda/libraries.h"
#include "runners/cuda/nvrtc_worker.h"
#include "runners/worker/build_cache.h"
#include "runners/worker/toolchain.h"

namespace fib {

// The lines of the sources that instructions come from, for profilers: with the paths of headers,
// which are this machine's.
enum class LineInfo { kKept, kLeftOut };

struct CudaBuilderOptions {
  RunnerOptions runner;
  CudaSearch search;
  std::filesystem::path device_source_folder;  // runners/cuda/device: the harness's own kernels
  int max_compiles = 2;  // NVRTC workers
  LineInfo line_info = LineInfo::kKept;
};

class CudaBuilder {
 public:
  // kEnvironment where NVRTC or a host compiler is missing.
  static Result<std::unique_ptr<CudaBuilder>> open(CudaBuilderOptions options);

  // Thread-safe. A solution that doesn't compile is an outcome, not an Error.
  Result<BuildOutcome> build(const BuildRequest& request);

  // The harness's own kernels for an architecture, as a device binary.
  Result<std::string> harness_kernels(const std::string& architecture);

  const std::string& nvrtc_version() const { return nvrtc_version_; }

 private:
  CudaBuilder(CudaBuilderOptions options, Toolchain toolchain, BuildCache cache,
              NvrtcFarmOptions farm);
  std::vector<std::string> common_options(const std::string& architecture) const;
  std::string key_of(const BuildRequest& request, const NvrtcRequest& device) const;

  CudaBuilderOptions options_;
  Toolchain toolchain_;
  BuildCache cache_;
  NvrtcFarm farm_;
  std::string nvrtc_version_;
  std::string headers_hash_;  // of harness/abi
  std::optional<std::filesystem::path> cuda_headers_;
};

// What a session needs of an artifact.
struct CudaBinary {
  std::string cubin;
  std::vector<std::pair<std::string, std::string>> lowered;
  std::filesystem::path plan;
};
Result<CudaBinary> read_cuda_binary(const Artifact& artifact);

// "{axis}" replaced by the value of a const axis; an unknown name is an error that names it.
Result<std::string> expand_axes(std::string_view text, const Signature& signature);

}  // namespace fib
