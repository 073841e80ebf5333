#pragma once

// Text for models and people, never more than a bounded amount.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fib {

// At most `lines` lines and `bytes` bytes, cut at a line's end where possible and saying so.
struct TextLimit {
  size_t lines = 60, bytes = 6000;
};
std::string shortened(std::string_view text, const TextLimit& limit);

std::string time_in_words(double ns);      // "12.3 us"
std::string bytes_in_words(double bytes);  // "1.5 KiB"

// Without their ends; a text without a last '\n' ends with a line all the same.
std::vector<std::string_view> lines_of(std::string_view text);

}  // namespace fib
