#pragma once

// Finds stop strings in text that comes in pieces, wherever the pieces' borders lie.

#include <string>
#include <string_view>
#include <vector>

namespace fib {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // The text that is now known to come before any stop string. The first stop string to be complete
  // ends the text, where it begins; of two that are complete at once, the longer one.
  std::string push(std::string_view text);
  // What was held back because a stop string could have begun in it.
  std::string finish();
  bool has_matched() const { return has_matched_; }
  bool holds_text() const { return !held_.empty(); }

 private:
  size_t held_length() const;  // of the longest end of held_ that begins a stop string

  std::vector<std::string> stops_;
  std::string held_;
  bool has_matched_ = false;
};

}  // namespace fib
