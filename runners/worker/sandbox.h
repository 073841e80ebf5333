#pragma once

// What a worker gives up, for good, before it loads a candidate (constructors run at dlopen): new
// files but for those listed, devices, the network, other processes and programs, new threads.
// What remains is computing, its memory, and the descriptors that it holds already.
//
// System calls that no honest kernel makes (socket, fork, execve, ptrace, ...) end the process with
// SIGSYS, after a line on stderr that names the call (but for a new thread: libc blocks signals
// there); all others that aren't needed for computing fail with EPERM.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

struct SandboxPolicy {
  std::vector<std::filesystem::path> readable;  // files and folders; usually with system_folders()
  size_t memory_bytes = 0;  // RLIMIT_AS: all that is mapped, shared memory included; 0: unlimited
  int cpu_seconds = 0;      // 0: unlimited
  int max_processes = 0;    // RLIMIT_NPROC: threads of this user, other programs included; 0: as is
  bool allow_threads = false;  // new ones, later on (a compiler's; never a candidate's)
  // Called when files are closed and before the rest is: a worker's own threads start here, so
  // that they are under the same rules.
  std::function<void()> start_threads;
};

struct SandboxReport {
  // What the kernel couldn't do, as "files: the kernel has no Landlock"; empty: all in place.
  std::vector<std::string> missing;
};

// kEnvironment when system calls can't be filtered: no candidate may run then. Files that stay
// readable for want of Landlock are only reported; they can't be written in any case.
Result<SandboxReport> enter_sandbox(const SandboxPolicy& policy);

// For `fib doctor`: what this kernel offers, and what stands in the way.
struct SandboxAbility {
  bool ok = false;
  std::string detail;  // "ABI 4", or the reason why not
};
struct SandboxAbilities {
  SandboxAbility seccomp;
  SandboxAbility landlock;
  SandboxAbility user_namespaces;  // not needed by workers
};
SandboxAbilities probe_sandbox();

}  // namespace fib
