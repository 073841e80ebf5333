#pragma once

// A shared object in this process. Only for what is trusted: it runs with all our rights.

#include <filesystem>

#include "signatures/base/result.h"

namespace fib {

class SharedObject {
 public:
  static Result<SharedObject> open(const std::filesystem::path& file);
  SharedObject(SharedObject&& other) noexcept;
  SharedObject& operator=(SharedObject&& other) noexcept;
  ~SharedObject();

  // Sets `function` to the symbol, or to nullptr where there is none.
  template <class Function>
  void find(const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  explicit SharedObject(void* handle) : handle_(handle) {}
  void* symbol(const char* name) const;
  void* handle_ = nullptr;
};

}  // namespace fib
