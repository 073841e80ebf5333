#include "integrations/package/export/device_code.h"

#include "runners/cuda/cuda_build.h"

namespace fib {
namespace {

class NvrtcCompiler final : public DeviceCompiler {
 public:
  explicit NvrtcCompiler(std::unique_ptr<CudaBuilder> builder) : builder_(std::move(builder)) {}

  Result<Compiled<DeviceCode>> compile(const Solution& solution, const Signature& signature,
                                       const std::string& architecture) override {
    BuildOutcome outcome = FIB_TRY(builder_->build(
        {.solution = solution, .signature = signature, .architecture = architecture}));
    if (!outcome.artifact) return Compiled<DeviceCode>{.failure_log = outcome.failure_log};
    CudaBinary binary = FIB_TRY(read_cuda_binary(*outcome.artifact));
    return Compiled<DeviceCode>{.made = DeviceCode{.architecture = architecture,
                                                   .cubin = std::move(binary.cubin),
                                                   .kernels = std::move(binary.lowered)}};
  }
  std::string version() const override { return builder_->nvrtc_version(); }

 private:
  std::unique_ptr<CudaBuilder> builder_;
};

}  // namespace

Result<std::unique_ptr<DeviceCompiler>> open_device_compiler(const PackageBuildOptions& options) {
  auto builder =
      FIB_TRY(CudaBuilder::open({.runner = {.cache_folder = options.cache_folder,
                                            .worker_executable = options.worker_executable,
                                            .include_folder = options.abi},
                                 .search = options.cuda,
                                 .device_source_folder = options.device_sources,
                                 .max_compiles = options.threads,
                                 .line_info = LineInfo::kLeftOut}));
  return std::make_unique<NvrtcCompiler>(std::move(builder));
}

}  // namespace fib
