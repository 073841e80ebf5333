#include "signatures/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace fib {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

Failure system_failure(int error, std::string_view action, const std::filesystem::path& file) {
  std::string remedy;
  if (error == ENOSPC || error == EDQUOT) remedy = "free some space on its file system";
  if (error == EFBIG) remedy = "raise the limit on the size of files (ulimit -f)";
  if (error == EACCES || error == EPERM)
    remedy = "check the permissions of the file and its folder";
  return fail(ErrorCode::kIo,
              fmt::format("cannot {}: {}", action, std::generic_category().message(error)),
              file.string(), std::move(remedy));
}

// A file under a name of its own beside `target`; it is gone again unless it was renamed.
class TemporaryFile {
 public:
  static Result<TemporaryFile> beside(const std::filesystem::path& target) {
    constexpr int kAttempts = 1000;  // names taken by writers that were killed
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      std::filesystem::path path = target;
      path.replace_filename(
          fmt::format(".{}.{}-{}.tmp", target.filename().string(), ::gettid(), attempt));
      const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd >= 0) return TemporaryFile(std::move(path), fd);
      if (errno != EEXIST) return system_failure(errno, "create a file beside it", target);
    }
    return fail(ErrorCode::kIo, "too many leftover temporary files stand beside it",
                target.string(), "delete the hidden .tmp files in its folder");
  }

  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), descriptor_(std::move(other.descriptor_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  int write(std::string_view content) {
    while (!content.empty()) {
      const ssize_t written = ::write(descriptor_.get(), content.data(), content.size());
      if (written < 0 && errno != EINTR) return errno;
      if (written > 0) content.remove_prefix(static_cast<size_t>(written));
    }
    return 0;
  }

  int flush_and_close() {
    if (::fsync(descriptor_.get()) != 0) return errno;
    return descriptor_.close() == 0 ? 0 : errno;
  }

  int rename_to(const std::filesystem::path& target) {
    if (::rename(path_.c_str(), target.c_str()) != 0) return errno;
    path_.clear();
    return 0;
  }

 private:
  TemporaryFile(std::filesystem::path path, int fd) : path_(std::move(path)), descriptor_(fd) {}

  std::filesystem::path path_;
  Descriptor descriptor_;
};

// Makes the rename itself survive a power cut. File systems that cannot sync a folder say EINVAL;
// there is nothing more to do on those.
int sync_folder(const std::filesystem::path& file) {
  std::filesystem::path folder = file.parent_path();
  if (folder.empty()) folder = ".";
  Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.valid()) return errno;
  return ::fsync(descriptor.get()) == 0 || errno == EINVAL ? 0 : errno;
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& file) {
  Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor.valid()) {
    if (errno == ENOENT || errno == ENOTDIR)
      return fail(ErrorCode::kNotFound, "no such file", file.string());
    return system_failure(errno, "open", file);
  }
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) return system_failure(errno, "read", file);

  // The size is only a hint: it is 0 under /proc, and the file may be growing.
  constexpr size_t kLeastChunk = 4096;
  std::string content;
  size_t filled = 0;
  size_t chunk = static_cast<size_t>(status.st_size) + 1;
  while (true) {
    content.resize(filled + std::max(chunk, kLeastChunk));
    const ssize_t count =
        ::read(descriptor.get(), content.data() + filled, content.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_failure(errno, "read", file);
    if (count == 0) break;
    filled += static_cast<size_t>(count);
    chunk = content.size() - filled;
    if (chunk == 0) chunk = filled;
  }
  content.resize(filled);
  return content;
}

Result<void> write_file_atomically(const std::filesystem::path& file, std::string_view content) {
  return write_file_atomically(file, std::span(&content, 1));
}

Result<void> write_file_atomically(const std::filesystem::path& file,
                                   std::span<const std::string_view> pieces) {
  TemporaryFile temporary = FIB_TRY(TemporaryFile::beside(file));
  for (std::string_view piece : pieces)
    if (const int error = temporary.write(piece)) return system_failure(error, "write", file);
  if (const int error = temporary.flush_and_close()) return system_failure(error, "write", file);
  if (const int error = temporary.rename_to(file)) return system_failure(error, "replace", file);
  if (const int error = sync_folder(file)) return system_failure(error, "sync the folder of", file);
  return {};
}

bool is_safe_relative_path(std::string_view path) {
  if (path.find('\\') != path.npos || path.find('\0') != path.npos) return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (segment.empty() || segment == "..") return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace fib
