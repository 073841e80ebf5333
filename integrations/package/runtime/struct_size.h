#pragma once

// Structs of callers begin with their size. One of version 1.0 is enough for this library too: a
// member that a later version adds at the end is only looked at where the caller's struct has it.

#include <cstddef>

#include "integrations/package/runtime/last_error.h"

namespace fib::package {

template <class Struct>
inline constexpr size_t kFirstSize = 0;  // in version 1.0, up to the last member
template <>
inline constexpr size_t kFirstSize<fib_kernels_device_options> =
    offsetof(fib_kernels_device_options, parallel_host) + sizeof(void*);
template <>
inline constexpr size_t kFirstSize<fib_kernels_call> = offsetof(fib_kernels_call, stream) +
                                                       sizeof(void*);
template <>
inline constexpr size_t kFirstSize<fib_kernels_raw_call> = offsetof(fib_kernels_raw_call, stream) +
                                                           sizeof(void*);
template <>
inline constexpr size_t kFirstSize<fib_kernels_prepare_info> = offsetof(fib_kernels_prepare_info,
                                                                        workspace_bytes) +
                                                               sizeof(size_t);
template <>
inline constexpr size_t kFirstSize<fib_kernels_choice> = offsetof(fib_kernels_choice,
                                                                  wants_prepared) +
                                                         sizeof(int32_t);

template <class Struct>
fib_kernels_status check_size(const Struct& given, const char* name) {
  static_assert(kFirstSize<Struct> > 0);
  if (given.struct_size >= kFirstSize<Struct>) [[likely]]
    return FIB_KERNELS_OK;
  return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                "{}.struct_size is {}, at least {} is expected: begin with the INIT of its type or "
                "sizeof",
                name, given.struct_size, kFirstSize<Struct>);
}

}  // namespace fib::package
