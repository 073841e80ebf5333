#include "agents/call_folder.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace fib::agents {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "call-";
constexpr int kMostTries = 16;

FileDescriptor open_folder(const fs::path& folder) {
  return FileDescriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// False: another process has it (EWOULDBLOCK), or its file system locks no folders, as NFS.
bool lock(const FileDescriptor& folder) { return ::flock(folder.get(), LOCK_EX | LOCK_NB) == 0; }

// Locks end with their process, so that nobody has a folder that can be locked.
void sweep(const fs::path& below) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(below, ignored)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    const FileDescriptor folder = open_folder(entry.path());
    if (folder.valid() && lock(folder)) fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace

Result<CallFolder> CallFolder::make(const std::filesystem::path& below) {
  std::error_code code;
  fs::create_directories(below, code);
  sweep(below);
  for (int tries = 0; !code && tries < kMostTries; ++tries) {
    std::string name = (below / kPrefix).string() + "XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) break;
    // Somebody else's sweep may come before the lock.
    FileDescriptor folder = open_folder(name);
    if (!folder.valid() || (!lock(folder) && errno == EWOULDBLOCK)) continue;
    if (fs::exists(name, code)) return CallFolder(name, std::move(folder));
  }
  return fail(ErrorCode::kIo, "can't make a folder", below.string(),
              "name a writable place with --cache");
}

CallFolder::~CallFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

}  // namespace fib::agents
