#pragma once

// What can be read off a device binary without a device.

#include <cstddef>
#include <span>

namespace fib {

// True if the binary has global variables: memory that a kernel can write and that outlives a call.
// Such a module is loaded afresh for each call, so that nothing can be remembered from one to the
// next. `__constant__` and shared memory don't count. Unreadable bytes do, and so do constants for
// which the compiler made a variable, as NVRTC does for every constexpr at namespace scope: they
// lie in the same writable section, where nothing tells them from the others.
bool has_device_variables(std::span<const std::byte> cubin);

}  // namespace fib
