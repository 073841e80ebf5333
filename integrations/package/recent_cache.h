#pragma once

// Values by byte-string keys; the least recently used one goes when there are too many.

#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace fib {

template <class Value>
class RecentCache {
 public:
  explicit RecentCache(size_t capacity) : capacity_(capacity) {}

  // Valid until the next insert. nullptr: not there.
  Value* find(std::string_view key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }

  // The key must not be there yet.
  Value& insert(std::string_view key, Value value) {
    if (entries_.size() == capacity_) {
      by_key_.erase(entries_.back().first);
      entries_.pop_back();
    }
    entries_.emplace_front(key, std::move(value));
    by_key_.emplace(entries_.front().first, entries_.begin());
    return entries_.front().second;
  }

 private:
  using Entries = std::list<std::pair<std::string, Value>>;
  size_t capacity_;
  Entries entries_;  // most recently used first
  std::unordered_map<std::string_view, typename Entries::iterator> by_key_;  // keys in entries_
};

}  // namespace fib
