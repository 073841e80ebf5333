#include "integrations/package/cuda_device.h"
#include "integrations/package/package_seat.h"

namespace fib {
namespace {

class CudaSeat final : public PackageSeat {
 public:
  explicit CudaSeat(const CudaDevice& device) : device_(device) {}
  fib_kernels_device_options options() const override {
    fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
    options.device_type = kFibKernelsCuda;
    options.device_id = device_.context().index();
    return options;
  }
  void* stream() const override { return device_.context().stream(); }
  Result<void> enter() const override { return device_.enter(); }
  Error explain(Error error) const override { return device_.explain(std::move(error)); }

 private:
  const CudaDevice& device_;
};

}  // namespace

Result<std::unique_ptr<PackageSeat>> make_cuda_seat(ServingDevice& device) {
  return std::make_unique<CudaSeat>(dynamic_cast<const CudaDevice&>(device));
}

Result<void> prepare_card(ServingDevice& device, const HouseDispatchOptions& options) {
  auto& cuda = dynamic_cast<CudaDevice&>(device);
  FIB_CHECK(cuda.enter());
  if (cuda.can_fill_random()) return {};
  // A package needs no NVRTC; without it there are no random weights, and fill_random says so.
  if (auto adopted = adopt_harness_kernels(cuda, options); !adopted) {
    if (adopted.error().code == ErrorCode::kWorkerLost) return fail(std::move(adopted).error());
  }
  return {};
}

}  // namespace fib
