// The cuda target in a build without CUDA's headers: it says so.

#include "runners/cuda/cuda_runner.h"
#include "runners/cuda/cuda_worker.h"
#include "runners/cuda/nvrtc_worker.h"

namespace fib {
namespace {

constexpr const char* kReason = "built without CUDA headers";
constexpr const char* kRemedy =
    "run scripts/quickstart --cuda, or install a CUDA toolkit, and configure again";

class CudaRunner : public Runner {
 public:
  std::string_view target() const override { return "cuda"; }
  Support available() const override { return {false, kReason, kRemedy}; }
  Support supports(const Solution&, const Signature&) const override { return available(); }
  std::vector<DeviceInfo> devices() const override { return {}; }
  Result<BuildOutcome> build(const BuildRequest&) override {
    return fail(ErrorCode::kUnsupported, kReason, "cuda", kRemedy);
  }
  Result<std::unique_ptr<Session>> open_session(int) override {
    return fail(ErrorCode::kUnsupported, kReason, "cuda", kRemedy);
  }
};

int refuse(Channel channel) {
  return serve_worker(std::move(channel), [](Message&) -> Result<Json> {
    return fail(ErrorCode::kUnsupported, kReason, "cuda", kRemedy);
  });
}

}  // namespace

std::unique_ptr<Runner> make_cuda_runner(CudaRunnerOptions) { return std::make_unique<CudaRunner>(); }

CudaStatus probe_cuda(const CudaRunnerOptions&) {
  return {.findings = {{.name = "driver", .reason = kReason, .remedy = kRemedy}}};
}

int run_cuda_worker(Channel channel, std::span<char*>) { return refuse(std::move(channel)); }
int run_nvrtc_worker(Channel channel, std::span<char*>) { return refuse(std::move(channel)); }

}  // namespace fib
