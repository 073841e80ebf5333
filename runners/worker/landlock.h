#pragma once

// Landlock: the kernel's way for an unprivileged process to give up the file system. Spoken by raw
// system calls, so that one binary serves every kernel.

#include <filesystem>
#include <vector>

#include "runners/worker/file_descriptor.h"
#include "signatures/base/result.h"

namespace fib {

// 0: the kernel has no Landlock, or it is switched off.
int landlock_abi();

// Folders (with all below them) and files. Paths that don't exist are left out.
struct AllowedPaths {
  std::vector<std::filesystem::path> readable;  // read, and execute programs from
  std::vector<std::filesystem::path> writable;  // read, write, create and remove
  enum class Tcp { kRefused, kAllowed } tcp = Tcp::kRefused;
};

// A ruleset that denies every file, TCP, signals and abstract sockets outside, as far as the
// kernel's version goes, but for `allowed`. kUnsupported without Landlock.
Result<FileDescriptor> landlock_ruleset(const AllowedPaths& allowed);

// Puts the calling thread, and all that it starts from now on, under the ruleset for good.
// Async-signal-safe. false: refused by the kernel.
bool restrict_self(int ruleset);

// Where a compiler and the dynamic loader find what they need on common distributions.
std::vector<std::filesystem::path> system_folders();

}  // namespace fib
