#include "runners/worker/sandbox.h"

#include <fmt/format.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "runners/worker/landlock.h"
#include "runners/worker/system_call_filter.h"

namespace fib {
namespace {

Result<void> limit(__rlimit_resource resource, rlim_t value, const char* name) {
  const rlimit both{value, value};
  if (::setrlimit(resource, &both) == 0) return {};
  return fail(ErrorCode::kEnvironment,
              fmt::format("can't set {} to {}: {}", name, value, ::strerror(errno)), "sandbox");
}

Result<void> set_limits(const SandboxPolicy& policy) {
  constexpr rlim_t kOpenFiles = 256;  // a candidate and its libraries, while they are loaded
  FIB_CHECK(limit(RLIMIT_CORE, 0, "RLIMIT_CORE"));
  FIB_CHECK(limit(RLIMIT_FSIZE, 0, "RLIMIT_FSIZE"));
  FIB_CHECK(limit(RLIMIT_NOFILE, kOpenFiles, "RLIMIT_NOFILE"));
  if (policy.cpu_seconds > 0) {
    FIB_CHECK(limit(RLIMIT_CPU, static_cast<rlim_t>(policy.cpu_seconds), "RLIMIT_CPU"));
  }
  if (policy.max_processes > 0) {
    FIB_CHECK(limit(RLIMIT_NPROC, static_cast<rlim_t>(policy.max_processes), "RLIMIT_NPROC"));
  }
#ifndef __SANITIZE_ADDRESS__  // which reserves terabytes
  if (policy.memory_bytes > 0) FIB_CHECK(limit(RLIMIT_AS, policy.memory_bytes, "RLIMIT_AS"));
#endif
  return {};
}

Result<void> close_files(const std::vector<std::filesystem::path>& readable) {
  const FileDescriptor ruleset = FIB_TRY(landlock_ruleset({.readable = readable}));
  if (restrict_self(ruleset.get())) return {};
  return fail(ErrorCode::kEnvironment,
              fmt::format("Landlock can't be entered: {}", ::strerror(errno)), "sandbox");
}

// In a process of its own, because it can't be undone.
SandboxAbility probe_user_namespaces() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::unshare(CLONE_NEWUSER) == 0 ? 0 : errno);
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
    return {false, "can't be tried"};
  }
  if (WEXITSTATUS(status) == 0) return {true, "available"};
  return {false, ::strerror(WEXITSTATUS(status))};
}

}  // namespace

Result<SandboxReport> enter_sandbox(const SandboxPolicy& policy) {
  SandboxReport report;
  FIB_CHECK(set_limits(policy));
  if (auto closed = close_files(policy.readable); !closed) {
    if (closed.error().code != ErrorCode::kUnsupported) return fail(std::move(closed).error());
    report.missing.push_back("files: " + closed.error().message);
  }
  if (policy.start_threads) policy.start_threads();
  FIB_CHECK(
      filter_system_calls(policy.allow_threads ? NewThreads::kAllowed : NewThreads::kRefused));
  return report;
}

SandboxAbilities probe_sandbox() {
  SandboxAbilities abilities;
  abilities.seccomp = {can_filter_system_calls(), describe_system_call_filter()};
  if (const int abi = landlock_abi(); abi > 0) {
    abilities.landlock = {true, fmt::format("ABI {}", abi)};
  } else {
    abilities.landlock = {false, "the kernel has none, or the boot parameter lsm= leaves it out"};
  }
  abilities.user_namespaces = probe_user_namespaces();
  return abilities;
}

}  // namespace fib
