#pragma once

// What can be read off a device binary without a device.

#include <cstddef>
#include <span>

namespace fib {

// True if the binary has `__device__` variables: memory that outlives a call. Such a module is
// loaded afresh for each timed call, so that nothing can be remembered from one to the next.
// Unreadable bytes count as having some, and so do constexpr values at namespace scope, which
// -default-device may turn into variables.
bool has_device_variables(std::span<const std::byte> cubin);

}  // namespace fib
