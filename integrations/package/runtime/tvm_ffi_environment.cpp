#include "integrations/package/runtime/tvm_ffi_environment.h"

#include <dlfcn.h>

#include <type_traits>

namespace fib::package {

FfiEnvironment FfiEnvironment::find() {
  // tvm-ffi's Python package loads its library for all to see. A program that doesn't still has it
  // loaded under its own name.
  void* library = RTLD_DEFAULT;
  if (!dlsym(library, "TVMFFIErrorSetRaisedFromCStr")) {
    library = dlopen("libtvm_ffi.so", RTLD_LAZY | RTLD_NOLOAD);
    if (!library) return {};
  }
  FfiEnvironment found;
  const auto look_up = [library](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
  };
  look_up(found.raise, "TVMFFIErrorSetRaisedFromCStr");
  look_up(found.current_stream, "TVMFFIEnvGetStream");
  look_up(found.allocate, "TVMFFIEnvTensorAlloc");
  look_up(found.release, "TVMFFIObjectDecRef");
  return found;
}

}  // namespace fib::package
