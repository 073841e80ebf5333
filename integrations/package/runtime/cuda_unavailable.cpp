// In place of cuda_target.cpp where CUDA's headers were missing when the library was built.

#include "integrations/package/runtime/targets.h"

namespace fib::package {

Result<std::unique_ptr<Target>> open_cuda_target(const fib_kernels_device_options&) {
  return fail(ErrorCode::kUnsupported, "the package was exported without support for cards", "",
              "export it with a fib that was built with the headers of CUDA");
}

}  // namespace fib::package
