#pragma once

// "Did you mean ...": the known word nearest to a misspelled one.

#include <optional>
#include <span>
#include <string_view>

namespace fib {

// The candidate with the fewest insertions, deletions, substitutions and swaps of neighbours
// between it and `word`; nothing where even the nearest differs in more than a third of the word.
std::optional<std::string_view> nearest_word(std::string_view word,
                                             std::span<const std::string_view> candidates);

}  // namespace fib
