#include "leaderboard/run_lease.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace fib {

namespace {

struct flock byte_of(int64_t run, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = run;
  lock.l_len = 1;
  return lock;
}

Failure trouble(std::string_view doing, int code, const std::filesystem::path& file) {
  return fail(ErrorCode::kIo, fmt::format("{} failed: {}", doing, std::strerror(code)),
              file.string(), "name a store on a file system with locks, with --store");
}

}  // namespace

RunLeases::RunLeases(const std::filesystem::path& store_file)
    : file_(store_file.string() + "-runs") {}

RunLeases::~RunLeases() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> RunLeases::open_to_take() {
  if (descriptor_ >= 0) return {};
  descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) return trouble("opening the file of running searches", errno, file_);
  return {};
}

Result<bool> RunLeases::take(int64_t run) {
  if (has(run)) return true;
  FIB_CHECK(open_to_take());
  // A lock of the open file, not of the process: two archives of one process exclude each other
  // too.
  struct flock lock = byte_of(run, F_WRLCK);
  if (::fcntl(descriptor_, F_OFD_SETLK, &lock) != 0) {
    if (errno == EAGAIN || errno == EACCES) return false;
    return trouble("locking a run", errno, file_);
  }
  held_.insert(run);
  return true;
}

void RunLeases::give_back(int64_t run) {
  if (held_.erase(run) == 0) return;
  struct flock lock = byte_of(run, F_UNLCK);
  ::fcntl(descriptor_, F_OFD_SETLK, &lock);  // unlocking what is locked doesn't fail
}

Result<bool> RunLeases::is_taken(int64_t run) const {
  if (has(run)) return true;
  const int descriptor = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return false;  // no search ever ran beside this copy of the store
    return trouble("opening the file of running searches", errno, file_);
  }
  struct flock lock = byte_of(run, F_WRLCK);
  const int code = ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 ? 0 : errno;
  ::close(descriptor);
  if (code != 0) return trouble("asking for a run's lock", code, file_);
  return lock.l_type != F_UNLCK;
}

}  // namespace fib
