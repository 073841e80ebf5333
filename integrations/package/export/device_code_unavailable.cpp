// Without CUDA's headers when fib was built.

#include "integrations/package/export/device_code.h"

namespace fib {

Result<std::unique_ptr<DeviceCompiler>> open_device_compiler(const PackageBuildOptions&) {
  return fail(ErrorCode::kUnsupported, "this build of fib can't compile for cards",
              "cuda_architectures", "run scripts/setup --cuda and build again");
}

}  // namespace fib
