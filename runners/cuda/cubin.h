#pragma once

// What can be read off a device binary without a device.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "signatures/base/result.h"

namespace fib {

// True if the binary has global variables: memory that a kernel can write and that outlives a call.
// Such a module is loaded afresh for each call, so that nothing can be remembered from one to the
// next. `__constant__` and shared memory don't count. Unreadable bytes do, and so do constants for
// which the compiler made a variable, as NVRTC does for every constexpr at namespace scope: they
// lie in the same writable section, where nothing tells them from the others.
bool has_device_variables(std::span<const std::byte> cubin);

// What a kernel is to the device, whatever its sources look like: its instructions, the constants
// and variables they reach, its attributes (registers, barriers, frame, parameters, cluster), the
// size of its static shared memory, and the same of all functions that it calls. Names count only
// where they are resolved outside the binary.
struct KernelIdentity {
  std::string hash;        // equal: the same program
  int64_t code_bytes = 0;  // of the kernel and the functions it calls
};
// Error: an unreadable binary, or none of this symbol.
Result<KernelIdentity> kernel_identity(std::span<const std::byte> cubin, std::string_view symbol);

}  // namespace fib
