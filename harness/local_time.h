#pragma once

#include <string>

namespace fib {

// Now, as records carry it: "2026-01-02T03:04:05", local time.
std::string local_timestamp();

}  // namespace fib
