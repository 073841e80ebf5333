// Serving on the cuda target in a build without CUDA's headers: it says so.

#include "integrations/package/kernel_target.h"
#include "integrations/package/package_seat.h"

namespace fib {
namespace {

Failure unavailable() {
  return fail(ErrorCode::kEnvironment, "built without CUDA headers", "cuda",
              "run scripts/quickstart --cuda, or install a CUDA toolkit, and configure again");
}

}  // namespace

Result<std::unique_ptr<ServingDevice>> open_cuda_device(int, double) { return unavailable(); }

Result<std::unique_ptr<PackageSeat>> make_cuda_seat(ServingDevice&) { return unavailable(); }

Result<void> prepare_card(ServingDevice&, const HouseDispatchOptions&) { return unavailable(); }

Result<std::unique_ptr<KernelTarget>> open_cuda_kernels(ServingDevice&,
                                                        const HouseDispatchOptions&) {
  return unavailable();
}

}  // namespace fib
