#pragma once

// UTF-8, as far as JSON text needs it.

#include <cstddef>
#include <string_view>

namespace fib {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";  // U+FFFD

// Bytes of the well-formed character that `text` starts with (1 to 4); 0 where it starts with
// something else: a stray continuation byte, an overlong form, a surrogate, a cut-off character.
size_t utf8_length(std::string_view text);

}  // namespace fib
