#include "integrations/package/cpu_device.h"
#include "integrations/package/package_seat.h"

namespace fib {
namespace {

void parallel_for(void* host, int64_t count, int64_t grain, FibBody body, void* context) {
  static_cast<WorkerPool*>(host)->run(count, grain, body, context);
}

// The package's kernels share the device's threads with everybody else's.
class CpuSeat final : public PackageSeat {
 public:
  explicit CpuSeat(CpuDevice& device) : device_(device) {}
  fib_kernels_device_options options() const override {
    fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
    options.device_type = kFibKernelsCpu;
    options.num_threads = device_.pool().size();
    options.parallel_for = parallel_for;
    options.parallel_host = &device_.pool();
    return options;
  }

 private:
  CpuDevice& device_;
};

}  // namespace

std::unique_ptr<PackageSeat> make_cpu_seat(ServingDevice& device) {
  return std::make_unique<CpuSeat>(dynamic_cast<CpuDevice&>(device));
}

}  // namespace fib
