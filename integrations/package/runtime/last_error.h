#pragma once

// Why a thread's last call failed, in a buffer of its own: reporting allocates nothing that lives
// on.

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "integrations/package/include/fib_kernels.h"
#include "signatures/base/result.h"

namespace fib::package {

const char* last_error();

// Keeps the message, cut off at what the buffer holds, and returns the status.
[[gnu::cold]] fib_kernels_status refuse(fib_kernels_status status, std::string_view message);

template <class... Arguments>
[[gnu::cold]] fib_kernels_status refuse(fib_kernels_status status,
                                        fmt::format_string<Arguments...> format,
                                        Arguments&&... arguments) {
  return refuse(status,
                std::string_view(fmt::format(format, std::forward<Arguments>(arguments)...)));
}

// An error in words of the C interface. kEnvironment is a missing driver while a device is opened,
// and trouble with the device later.
enum class Stage { kOpening, kCalling };
[[gnu::cold]] fib_kernels_status refuse(const Error& error, Stage stage);

}  // namespace fib::package
