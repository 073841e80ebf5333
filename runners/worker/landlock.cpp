#include "runners/worker/landlock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstdint>

namespace fib {
namespace {

// From the kernel's ABI (linux/landlock.h), spelled here because older headers lack the newer
// parts of it.
struct RulesetAttributes {
  uint64_t handled_file_access;
  uint64_t handled_network_access;  // ABI 4
  uint64_t scoped;                  // ABI 6
};
struct [[gnu::packed]] PathBeneath {
  uint64_t allowed_access;
  int32_t parent_fd;
};
constexpr unsigned kVersionQuery = 1;
constexpr int kRulePathBeneath = 1;

constexpr uint64_t kExecute = 1 << 0;
constexpr uint64_t kWriteFile = 1 << 1;
constexpr uint64_t kReadFile = 1 << 2;
constexpr uint64_t kReadFolder = 1 << 3;
constexpr uint64_t kTruncate = 1 << 14;
constexpr uint64_t kOnFiles = kExecute | kWriteFile | kReadFile | kTruncate;

uint64_t file_access_of(int abi) {
  uint64_t access = (1 << 13) - 1;  // ABI 1: all but the following
  if (abi >= 2) access |= 1 << 13;  // link and rename between folders
  if (abi >= 3) access |= kTruncate;
  if (abi >= 5) access |= 1 << 15;  // ioctl on devices
  return access;
}

RulesetAttributes attributes_of(int abi, AllowedPaths::Tcp tcp) {
  const bool refuses_tcp = abi >= 4 && tcp == AllowedPaths::Tcp::kRefused;
  return {.handled_file_access = file_access_of(abi),
          .handled_network_access = refuses_tcp ? 3u : 0u,  // bind, connect
          .scoped = abi >= 6 ? 3u : 0u};                    // abstract sockets, signals
}

Result<void> allow(int ruleset, const std::filesystem::path& path, uint64_t access) {
  const FileDescriptor target(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!target.valid()) return {};
  struct stat status {};
  ::fstat(target.get(), &status);
  if (!S_ISDIR(status.st_mode)) access &= kOnFiles;
  const PathBeneath rule{access, target.get()};
  if (::syscall(SYS_landlock_add_rule, ruleset, kRulePathBeneath, &rule, 0) != 0) {
    return fail(ErrorCode::kEnvironment,
                fmt::format("Landlock refuses a rule: {}", ::strerror(errno)), path.string());
  }
  return {};
}

}  // namespace

int landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersionQuery);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

Result<FileDescriptor> landlock_ruleset(const AllowedPaths& allowed) {
  const int abi = landlock_abi();
  if (abi == 0) {
    return fail(ErrorCode::kUnsupported, "the kernel has no Landlock, or it is switched off", {},
                "use Linux 5.13 or later with 'landlock' among the boot parameter lsm=");
  }
  const RulesetAttributes attributes = attributes_of(abi, allowed.tcp);
  const size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  FileDescriptor ruleset(static_cast<int>(  // close-on-exec by itself
      ::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) {
    return fail(ErrorCode::kEnvironment,
                fmt::format("Landlock refuses a ruleset: {}", ::strerror(errno)));
  }
  constexpr uint64_t kReadable = kExecute | kReadFile | kReadFolder;
  for (const auto& path : allowed.readable) FIB_CHECK(allow(ruleset.get(), path, kReadable));
  for (const auto& path : allowed.writable) {
    FIB_CHECK(allow(ruleset.get(), path, attributes.handled_file_access));
  }
  return ruleset;
}

bool restrict_self(int ruleset) {
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

std::vector<std::filesystem::path> system_folders() {
  return {"/usr",
          "/lib",
          "/lib32",
          "/lib64",
          "/bin",
          "/etc/ld.so.cache",
          "/etc/alternatives",
          "/opt",
          "/nix/store",
          "/dev/null",
          "/dev/zero",
          "/dev/urandom",
          "/proc/cpuinfo",
          "/proc/meminfo",
          "/sys/devices/system/cpu"};
}

}  // namespace fib
