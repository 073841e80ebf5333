#pragma once

// A folder of build results, one folder a key. An entry is filled in a temporary folder of the same
// cache, written through to the disk and renamed into place: readers see all of it or nothing, and
// two builders of one key are both right. Every file's size and hash stand in the entry's
// "fib-entry.json"; an entry that disagrees is dropped and built again.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

struct BuildCacheEntry {
  std::string key;
  std::filesystem::path folder;
  uint64_t size_bytes = 0;
  double age_s = 0.0;  // since it was last found or published
};

class BuildCache {
 public:
  // Writes what belongs into the given empty folder.
  using Fill = std::function<Result<void>(const std::filesystem::path& folder)>;

  static Result<BuildCache> open(std::filesystem::path root);  // made when it isn't there

  // The entry's folder, or nothing. Keys are file names of letters, digits, '.', '_' and '-'.
  Result<std::optional<std::filesystem::path>> find(std::string_view key) const;

  // Returns the entry's folder: what `fill` made, or what another builder finished meanwhile. When
  // `fill` fails its error is passed on; that or a full disk (kIo) leaves nothing behind.
  Result<std::filesystem::path> publish(std::string_view key, const Fill& fill) const;

  Result<std::vector<BuildCacheEntry>> entries() const;  // the least recently used first
  // Both return the bytes that were freed, abandoned temporary folders included.
  Result<uint64_t> clear() const;
  Result<uint64_t> trim(uint64_t max_bytes) const;  // the least recently used go first

 private:
  explicit BuildCache(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
};

// Names and contents of every file below `folder`: headers are part of a build's key.
Result<std::string> hash_folder(const std::filesystem::path& folder);

}  // namespace fib
