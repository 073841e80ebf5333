#pragma once

// Bytes of tokens made into characters. A character's bytes may be spread over several tokens.

#include <string>
#include <string_view>

namespace fib {

enum class TextEnd { kOpen, kClosed };  // may more bytes follow?

// Takes from the front of `bytes` what has become certain: characters, and U+FFFD for each run of
// bytes that cannot become one (the longest beginning of a character, as the Unicode standard
// recommends). What may still become a character stays if more can follow.
std::string take_characters(std::string& bytes, TextEnd end);

}  // namespace fib
