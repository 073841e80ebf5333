#include "integrations/serving/http/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace fib {

std::string StopMatcher::push(std::string_view text) {
  if (has_matched_) return {};
  held_ += text;
  size_t first_end = std::string::npos, start = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size();
    if (end < first_end || (end == first_end && at < start)) {
      first_end = end;
      start = at;
    }
  }
  has_matched_ = first_end != std::string::npos;
  const size_t released = has_matched_ ? start : held_.size() - held_length();
  std::string result = held_.substr(0, released);
  if (has_matched_) {
    held_.clear();
  } else {
    held_.erase(0, released);
  }
  return result;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

size_t StopMatcher::held_length() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > longest; --length) {
      if (held_.ends_with(std::string_view(stop).substr(0, length))) longest = length;
    }
  }
  return longest;
}

}  // namespace fib
