#pragma once

// The alphabet in which byte-level tokenizers spell bytes as printable characters: GPT-2's, where
// a space is "\u0120" and a line end "\u010a".

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace fib {

// The character of each byte, as UTF-8.
const std::array<std::string, 256>& byte_alphabet();

// The bytes that `piece` spells; nothing where it holds a character outside the alphabet.
std::optional<std::string> bytes_of_piece(std::string_view piece);

}  // namespace fib
