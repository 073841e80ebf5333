#pragma once

// Characters of names and numbers, whatever the locale.

namespace fib {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace fib
