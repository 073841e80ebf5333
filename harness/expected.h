#pragma once

// Expected values of one value set: the exact reference, and the honest implementation's error
// as the yardstick. Computed once, kept on disk and in memory.

#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "harness/compare.h"
#include "reference/reference.h"
#include "workloads/inputs.h"

namespace fib {

struct ExpectedOutput {
  ReferenceValues exact;
  ErrorStats honest;                // honest implementation against exact
};
struct Expected {
  std::vector<ExpectedOutput> outputs;  // calling order
};
using ExpectedPtr = std::shared_ptr<const Expected>;

class ExpectedCache {
 public:
  // `folder` may be empty: memory only. At most `disk_bytes` on disk, oldest dropped first.
  ExpectedCache(std::filesystem::path folder, size_t disk_bytes, size_t memory_bytes);

  ~ExpectedCache();

  // From memory, disk, or by running the reference on `threads` threads. Thread-safe.
  Result<ExpectedPtr> get(const Problem& problem, const InputSet& inputs, int threads);

 private:
  Result<ExpectedPtr> load_or_compute(const std::string& key, const Problem& problem,
                                      const InputSet& inputs, int threads);

  std::filesystem::path folder_;
  size_t disk_bytes_;
  size_t memory_bytes_;
  std::mutex mutex_;
  struct Entry;
  std::vector<std::shared_ptr<Entry>> entries_;  // most recently used last
};

}  // namespace fib
