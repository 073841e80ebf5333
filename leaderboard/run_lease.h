#pragma once

// Which process has which run of a search. A run is a byte of a file beside the store
// ("fib.db-runs"), and having it is the kernel's lock on that byte: gone the moment the process is,
// however it ended, and never mistaken for that of a later process of the same number.

#include <cstdint>
#include <filesystem>
#include <set>

#include "signatures/base/result.h"

namespace fib {

class RunLeases {
 public:
  explicit RunLeases(const std::filesystem::path& store_file);
  RunLeases(const RunLeases&) = delete;
  RunLeases& operator=(const RunLeases&) = delete;
  ~RunLeases();  // gives all back

  // False: somebody else has it. What one has already is taken once.
  Result<bool> take(int64_t run);
  void give_back(int64_t run);
  bool has(int64_t run) const { return held_.contains(run); }
  Result<bool> is_taken(int64_t run) const;  // by anybody

 private:
  Result<void> open_to_take();

  std::filesystem::path file_;
  int descriptor_ = -1;  // opened by the first take
  std::set<int64_t> held_;
};

}  // namespace fib
