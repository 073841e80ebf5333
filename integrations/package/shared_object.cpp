#include "integrations/package/shared_object.h"

#include <dlfcn.h>

#include <utility>

namespace fib {

Result<SharedObject> SharedObject::open(const std::filesystem::path& file) {
  void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return fail(ErrorCode::kEnvironment, std::string("can't be loaded: ") + ::dlerror(),
                file.string());
  }
  return SharedObject(handle);
}

SharedObject::SharedObject(SharedObject&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)) {}

SharedObject& SharedObject::operator=(SharedObject&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

SharedObject::~SharedObject() {
  if (handle_ != nullptr) ::dlclose(handle_);
}

void* SharedObject::symbol(const char* name) const { return ::dlsym(handle_, name); }

}  // namespace fib
