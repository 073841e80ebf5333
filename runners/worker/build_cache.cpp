#include "runners/worker/build_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "runners/worker/file_descriptor.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEntryFile = "fib-entry.json";
constexpr const char* kTemporaryPrefix = ".new-";
// No build takes this long: a temporary folder of this age was left by a builder that died.
constexpr double kAbandonedAfter_s = 3600.0;

Failure io_error(const std::string& what, const fs::path& path, int error = errno) {
  return fail(ErrorCode::kIo, fmt::format("{}: {}", what, ::strerror(error)), path.string(),
              error == ENOSPC ? "free some space, or clear the cache" : "");
}

Result<void> check_key(std::string_view key) {
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (!key.empty() && key.front() != '.' && std::all_of(key.begin(), key.end(), is_plain)) {
    return {};
  }
  return fail(ErrorCode::kInvalidInput, fmt::format("'{}' can't be the key of an entry", key),
              "build cache", "use letters, digits, '.', '_' and '-'");
}

double age_s(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return 0.0;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::max(0.0, std::chrono::duration<double>(now).count() -
                           (static_cast<double>(status.st_mtim.tv_sec) +
                            1e-9 * static_cast<double>(status.st_mtim.tv_nsec)));
}

Result<void> sync(const fs::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return io_error("can't be written through", path);
  return {};
}

// Removed however the scope is left, unless it was renamed away.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> make(const fs::path& root) {
    std::string name = (root / kTemporaryPrefix).string() + "XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) return io_error("no new folder", root);
    return TemporaryFolder(name);
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

// The regular files below `folder` but for the entry file, by relative path.
Result<std::vector<fs::path>> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code problem;
  for (fs::recursive_directory_iterator it(folder, problem), end; !problem && it != end;
       it.increment(problem)) {
    if (it->is_directory(problem)) continue;
    if (!it->is_regular_file(problem) || it->is_symlink(problem)) {
      return fail(ErrorCode::kInvalidInput, "an entry holds only files and folders",
                  it->path().string());
    }
    const fs::path relative = it->path().lexically_relative(folder);
    if (relative != kEntryFile) files.push_back(relative);
  }
  if (problem) return fail(ErrorCode::kIo, problem.message(), folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

Result<Json> describe(const fs::path& folder) {
  Json files = Json::object();
  for (const fs::path& file : FIB_TRY(files_of(folder))) {
    const std::string content = FIB_TRY(read_file(folder / file));
    files[file.string()] = {{"size_bytes", content.size()}, {"sha256", sha256_hex(content)}};
  }
  return Json{{"files", std::move(files)}};
}

Result<void> write_through(const fs::path& folder) {
  for (const fs::path& file : FIB_TRY(files_of(folder))) {
    FIB_CHECK(sync(folder / file));
    if (file.has_parent_path()) FIB_CHECK(sync(folder / file.parent_path()));
  }
  const Json description = FIB_TRY(describe(folder));
  FIB_CHECK(write_file_atomically(folder / kEntryFile, dump_json_pretty(description)));
  return sync(folder);
}

bool is_whole(const fs::path& folder) {
  const auto promised = read_json_file(folder / kEntryFile);
  const auto found = describe(folder);
  return promised && found && *promised == *found;
}

uint64_t size_of(const fs::path& folder) {
  uint64_t bytes = 0;
  std::error_code problem;
  for (fs::recursive_directory_iterator it(folder, problem), end; !problem && it != end;
       it.increment(problem)) {
    std::error_code vanished;
    const uintmax_t size = it->is_regular_file(vanished) ? it->file_size(vanished) : 0;
    if (!vanished) bytes += size;
  }
  return bytes;
}

// Gone at once for everybody, then removed. Nothing happens if somebody else was faster.
Result<void> drop(const fs::path& root, const fs::path& folder) {
  const TemporaryFolder grave = FIB_TRY(TemporaryFolder::make(root));
  const fs::path target = grave.path() / "entry";
  if (::rename(folder.c_str(), target.c_str()) == 0 || errno == ENOENT) return {};
  return io_error("can't be removed", folder);
}

}  // namespace

Result<BuildCache> BuildCache::open(fs::path root) {
  std::error_code problem;
  fs::create_directories(root, problem);
  if (problem) {
    return fail(ErrorCode::kIo, "can't be made: " + problem.message(), root.string(),
                "choose a cache folder that can be written");
  }
  return BuildCache(fs::absolute(root));
}

Result<std::optional<fs::path>> BuildCache::find(std::string_view key) const {
  FIB_CHECK(check_key(key));
  const fs::path folder = root_ / key;
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) return std::nullopt;
  if (!is_whole(folder)) {
    FIB_CHECK(drop(root_, folder));
    return std::nullopt;
  }
  ::utimensat(AT_FDCWD, folder.c_str(), nullptr, 0);  // used now; a read-only cache stays as it is
  return folder;
}

Result<fs::path> BuildCache::publish(std::string_view key, const Fill& fill) const {
  FIB_CHECK(check_key(key));
  const fs::path folder = root_ / key;
  const TemporaryFolder temporary = FIB_TRY(TemporaryFolder::make(root_));
  FIB_CHECK(fill(temporary.path()));
  FIB_CHECK(write_through(temporary.path()));
  while (::rename(temporary.path().c_str(), folder.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST) return io_error("can't be published", folder);
    if (FIB_TRY(find(key))) return folder;  // another builder's; if damaged it has been dropped
  }
  FIB_CHECK(sync(root_));
  return folder;
}

Result<std::vector<BuildCacheEntry>> BuildCache::entries() const {
  std::vector<BuildCacheEntry> entries;
  std::error_code problem;
  for (fs::directory_iterator it(root_, problem), end; !problem && it != end;
       it.increment(problem)) {
    const std::string key = it->path().filename().string();
    if (!check_key(key)) continue;
    entries.push_back({key, it->path(), size_of(it->path()), age_s(it->path())});
  }
  if (problem) return fail(ErrorCode::kIo, problem.message(), root_.string());
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.age_s > b.age_s; });
  return entries;
}

Result<uint64_t> BuildCache::clear() const { return trim(0); }

Result<uint64_t> BuildCache::trim(uint64_t max_bytes) const {
  uint64_t freed = 0;
  std::error_code problem;
  for (fs::directory_iterator it(root_, problem), end; !problem && it != end;
       it.increment(problem)) {
    const bool is_temporary = it->path().filename().string().starts_with(kTemporaryPrefix);
    if (!is_temporary || age_s(it->path()) < kAbandonedAfter_s) continue;
    freed += size_of(it->path());
    std::error_code ignored;
    fs::remove_all(it->path(), ignored);
  }
  const std::vector<BuildCacheEntry> oldest_first = FIB_TRY(entries());
  uint64_t kept = 0;
  for (const BuildCacheEntry& entry : oldest_first) kept += entry.size_bytes;
  for (const BuildCacheEntry& entry : oldest_first) {
    if (kept <= max_bytes) break;
    FIB_CHECK(drop(root_, entry.folder));
    kept -= entry.size_bytes;
    freed += entry.size_bytes;
  }
  return freed;
}

Result<std::string> hash_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (const auto& entry : fs::recursive_directory_iterator(folder, failed)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  if (failed) return fail(ErrorCode::kIo, failed.message(), folder.string());
  std::sort(files.begin(), files.end());
  Hasher hasher;
  for (const fs::path& file : files) {
    hasher.add(fs::relative(file, folder).string()).add(FIB_TRY(read_file(file)));
  }
  return hasher.hex();
}

}  // namespace fib
