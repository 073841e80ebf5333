#include "runners/launch/cuda_driver.h"

#include <dlfcn.h>

namespace fib {
namespace {

constexpr const char* kInstallDriver = "install an NVIDIA driver of CUDA 12.8 or later";

#define FIB_TEXT(name) #name
#define FIB_SYMBOL(name) FIB_TEXT(name)  // cuda.h's macros have put the version suffix on `name`

Result<void> load_functions(void* library, CudaDriver& driver) {
#define FIB_LOAD(name)                                                                          \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, FIB_SYMBOL(name)));      \
  if (!driver.name) {                                                                           \
    return fail(ErrorCode::kEnvironment, "the CUDA driver lacks " FIB_SYMBOL(name),             \
                "libcuda.so.1", kInstallDriver);                                                \
  }
  FIB_CUDA_DRIVER_FUNCTIONS(FIB_LOAD)
#undef FIB_LOAD
  return {};
}

template <class... Arguments>
void refuse(CUresult (*&function)(Arguments...)) {
  function = [](Arguments...) -> CUresult { return CUDA_ERROR_LAUNCH_TIMEOUT; };
}

}  // namespace

Result<std::shared_ptr<const CudaDriver>> CudaDriver::open() {
  // Never closed: the driver keeps threads and exit handlers of its own.
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    return fail(ErrorCode::kEnvironment, "no CUDA driver on this machine", "libcuda.so.1",
                kInstallDriver);
  }
  auto driver = std::make_shared<CudaDriver>();
  FIB_CHECK(load_functions(library, *driver));
  if (const CUresult result = driver->cuInit(0); result != CUDA_SUCCESS) {
    return fail(ErrorCode::kEnvironment, "cuInit failed: " + driver->describe(result),
                "libcuda.so.1", "check that nvidia-smi lists a device");
  }
  return std::shared_ptr<const CudaDriver>(std::move(driver));
}

void CudaDriver::refuse_all() {
  const auto error_name = cuGetErrorName;
  const auto error_string = cuGetErrorString;
#define FIB_REFUSE(name) refuse(name);
  FIB_CUDA_DRIVER_FUNCTIONS(FIB_REFUSE)
#undef FIB_REFUSE
  cuGetErrorName = error_name;
  cuGetErrorString = error_string;
}

std::string CudaDriver::describe(CUresult result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &text);
  if (!name) return "CUDA error " + std::to_string(static_cast<int>(result));
  return text ? std::string(name) + ": " + text : std::string(name);
}

Result<void> CudaDriver::check(CUresult result, std::string_view what) const {
  if (result == CUDA_SUCCESS) return {};
  const ErrorCode code = result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorCode::kResourceExhausted
                                                            : ErrorCode::kEnvironment;
  return fail(code, std::string(what) + ": " + describe(result));
}

}  // namespace fib
