#include "signatures/base/suggest.h"

#include <algorithm>
#include <vector>

namespace fib {
namespace {

// Optimal string alignment distance, by the textbook table of which three rows are kept.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, previous);
    std::swap(previous, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({previous[j] + 1, row[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string_view> nearest_word(std::string_view word,
                                             std::span<const std::string_view> candidates) {
  constexpr size_t kLongestWord = 200;  // the table grows with the product of the lengths
  if (word.size() > kLongestWord) return std::nullopt;
  std::optional<std::string_view> nearest;
  size_t allowed = std::max<size_t>(1, word.size() / 3);
  for (std::string_view candidate : candidates) {
    if (candidate.size() > kLongestWord) continue;
    const size_t distance = edit_distance(word, candidate);
    if (distance > allowed || (nearest && distance == allowed)) continue;
    nearest = candidate;
    allowed = distance;
  }
  return nearest;
}

}  // namespace fib
