#pragma once

// The part of tvm-ffi's C interface (0.1) that a package uses: how arguments lie in memory, and the
// functions of libtvm_ffi.so, which whoever calls a package through tvm-ffi has loaded already.
// They are looked up by name, so that a package neither needs that library nor its headers.

#include <cstddef>
#include <cstdint>

#include "integrations/package/include/fib_kernels.h"

namespace fib::package {

// TVMFFIAny: a value with its type.
struct FfiAny {
  int32_t type_index;
  uint32_t padding;  // 0
  union {
    int64_t integer;
    double real;
    void* pointer;
  };
};
static_assert(sizeof(FfiAny) == 16);

enum FfiType : int32_t {
  kFfiNone = 0,
  kFfiInt = 1,
  kFfiBool = 2,
  kFfiFloat = 3,
  kFfiTensorPointer = 7,  // DLTensor*
  kFfiTensorObject = 70,  // an object whose DLTensor follows its header
};

// TVMFFIObject, which every object begins with: reference count, type, deleter.
inline constexpr size_t kFfiObjectHeaderBytes = 24;

struct FfiEnvironment {
  void (*raise)(const char* kind, const char* message) = nullptr;
  void* (*current_stream)(int32_t device_type, int32_t device_id) = nullptr;
  // A new tensor object like `prototype` (dtype, shape, device); nonzero: none, and an exception is
  // raised.
  int (*allocate)(fib_kernels_tensor* prototype, void** object) = nullptr;
  int (*release)(void* object) = nullptr;

  // Members whose function isn't found stay null.
  static FfiEnvironment find();
};

// What an argument holds; null where it is no tensor.
inline const fib_kernels_tensor* tensor_of(const FfiAny& value) {
  if (value.type_index == kFfiTensorPointer) {
    return static_cast<const fib_kernels_tensor*>(value.pointer);
  }
  if (value.type_index == kFfiTensorObject) {
    return reinterpret_cast<const fib_kernels_tensor*>(static_cast<const char*>(value.pointer) +
                                                       kFfiObjectHeaderBytes);
  }
  return nullptr;
}

}  // namespace fib::package
