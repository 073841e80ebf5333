#include "runners/worker/system_call_filter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string_view>

namespace fib {
namespace {

// Enough to compute, to load a shared object from a file that Landlock lets be read, and to answer
// the parent over descriptors that are open already. Names that an architecture lacks are skipped.
constexpr std::array kAllowed = {
    // memory
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "membarrier",
    // descriptors held already
    "read", "readv", "pread64", "write", "writev", "lseek", "close", "fstat", "newfstatat",
    "recvmsg", "recvfrom", "sendmsg", "sendto", "poll", "ppoll",
    // threads that run already
    "futex", "sched_yield", "sched_getaffinity", "getcpu", "set_robust_list", "rseq",
    // time
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    "times", "getrusage",
    // oneself
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "uname", "sysinfo",
    "getrandom", "arch_prctl", "set_tid_address",
    // signals and the end
    "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "pause", "exit",
    "exit_group"};

// Attempts that are a candidate's own doing: no library that computes makes them by itself.
constexpr std::array kAttempts = {
    // the network
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4",
    // programs and processes
    "execve", "execveat", "fork", "vfork", "clone", "kill", "tkill", "tgkill", "rt_sigqueueinfo",
    "rt_tgsigqueueinfo", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open",
    "pidfd_getfd", "pidfd_send_signal", "kcmp",
    // files
    "creat", "truncate", "ftruncate", "fallocate", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "link", "linkat", "symlink", "symlinkat", "mknod",
    "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat",
    "name_to_handle_at", "open_by_handle_at", "memfd_create", "memfd_secret",
    // the kernel
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "unshare", "setns", "keyctl",
    "add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load", "seccomp", "personality", "setuid", "setgid", "setresuid", "setresgid"};

// Runs in the offender. Async-signal-safe. The handler was reset when it was entered
// (SA_RESETHAND), so the second signal ends the process.
void name_and_die(int, siginfo_t* info, void*) {
  const auto say = [](std::string_view text) {
    if (::write(2, text.data(), text.size()) < 0) ::_exit(128 + SIGSYS);
  };
  say("fib sandbox: refused system call '");
  for (const char* name : kAttempts) {
    if (seccomp_syscall_resolve_name(name) == info->si_syscall) say(name);
  }
  say("'\n");
  ::raise(SIGSYS);
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release) {}

  template <class... Condition>
  void add(uint32_t action, const char* name, Condition... conditions) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) return;  // newer than this libseccomp: the default, EPERM
    note(seccomp_rule_add(context_.get(), action, number, sizeof...(conditions), conditions...));
  }
  void set(scmp_filter_attr attribute, uint32_t value) {
    note(seccomp_attr_set(context_.get(), attribute, value));
  }
  Result<void> load() {
    if (problem_ == 0) problem_ = seccomp_load(context_.get());
    if (problem_ == 0) return {};
    return fail(ErrorCode::kEnvironment,
                fmt::format("system calls can't be filtered: {}", ::strerror(-problem_)), "sandbox",
                "use a kernel with CONFIG_SECCOMP_FILTER");
  }

 private:
  void note(int outcome) {
    if (problem_ == 0 && outcome != 0) problem_ = outcome;
  }
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int problem_ = 0;
};

}  // namespace

Result<void> filter_system_calls(NewThreads new_threads) {
  Filter filter;
  filter.set(SCMP_FLTATR_CTL_TSYNC, 1);     // threads that run already
  filter.set(SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree: futex shouldn't wait behind a long list
  // Otherwise older kernels slow all loads after stores down, and candidates with them.
  filter.set(SCMP_FLTATR_CTL_SSB, 1);

  for (const char* name : kAllowed) filter.add(SCMP_ACT_ALLOW, name);
  // libc falls back to clone, whose flags are in a register and can be looked at.
  filter.add(SCMP_ACT_ERRNO(ENOSYS), "clone3");
  filter.add(SCMP_ACT_ERRNO(ENOSYS), "openat2");

  constexpr scmp_datum_t kWrites =
      O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY);
  filter.add(SCMP_ACT_ALLOW, "open", SCMP_A1_64(SCMP_CMP_MASKED_EQ, kWrites, 0));
  filter.add(SCMP_ACT_ALLOW, "openat", SCMP_A2_64(SCMP_CMP_MASKED_EQ, kWrites, 0));
  // Reading limits, not setting them.
  filter.add(SCMP_ACT_ALLOW, "prlimit64", SCMP_A2_64(SCMP_CMP_EQ, 0));
  // Whether shared memory that the parent sends later on is sealed.
  filter.add(SCMP_ACT_ALLOW, "fcntl", SCMP_A1_64(SCMP_CMP_EQ, F_GET_SEALS));
  // SIGSYS keeps its handler.
  filter.add(SCMP_ACT_ALLOW, "rt_sigaction", SCMP_A0_64(SCMP_CMP_NE, SIGSYS));

  const auto self = static_cast<scmp_datum_t>(::getpid());
  for (const char* name : kAttempts) {
    if (std::string_view(name) == "tgkill" || std::string_view(name) == "kill") {  // abort()
      filter.add(SCMP_ACT_ALLOW, name, SCMP_A0_64(SCMP_CMP_EQ, self));
      filter.add(SCMP_ACT_TRAP, name, SCMP_A0_64(SCMP_CMP_NE, self));
    } else if (std::string_view(name) == "clone" && new_threads == NewThreads::kAllowed) {
      filter.add(SCMP_ACT_ALLOW, name, SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
      filter.add(SCMP_ACT_TRAP, name, SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    } else {
      filter.add(SCMP_ACT_TRAP, name);
    }
  }

  struct sigaction action {};
  action.sa_sigaction = name_and_die;
  action.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER;
  ::sigaction(SIGSYS, &action, nullptr);
  return filter.load();
}

bool can_filter_system_calls() {
  const uint32_t action = SECCOMP_RET_TRAP;
  return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

std::string describe_system_call_filter() {
  if (!can_filter_system_calls()) {
    return fmt::format("the kernel can't filter system calls: {}", ::strerror(errno));
  }
  const scmp_version* version = seccomp_version();
  return fmt::format("libseccomp {}.{}.{}", version->major, version->minor, version->micro);
}

}  // namespace fib
