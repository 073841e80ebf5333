#include "runners/worker/sandbox.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "runners/worker/landlock.h"

namespace fib {
namespace {

using testing::HasSubstr;

constexpr int kNoSandbox = 200;  // exit code of a child that couldn't enter

struct Outcome {
  int code = -1;
  int signal = 0;
  std::string words;  // on stderr
};

// Runs `act` in a sandboxed child; its value becomes the exit code.
template <class Act>
Outcome in_sandbox(const SandboxPolicy& policy, Act act) {
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], 2);
    ::close(pipe[0]);
    ::close(pipe[1]);
    auto report = enter_sandbox(policy);
    if (!report) ::_exit(kNoSandbox);
    ::_exit(act());
  }
  ::close(pipe[1]);
  Outcome outcome;
  char buffer[256];
  for (ssize_t n = 0; (n = ::read(pipe[0], buffer, sizeof buffer)) > 0;) {
    outcome.words.append(buffer, static_cast<size_t>(n));
  }
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  EXPECT_NE(outcome.code, kNoSandbox);
  return outcome;
}

int error_of(long result) { return result < 0 ? errno : 0; }

class Sandbox : public testing::Test {
 protected:
  void SetUp() override {
    if (!probe_sandbox().seccomp.ok) GTEST_SKIP() << probe_sandbox().seccomp.detail;
  }
};

class Files : public Sandbox {
 protected:
  void SetUp() override {
    Sandbox::SetUp();
    if (landlock_abi() == 0) GTEST_SKIP() << probe_sandbox().landlock.detail;
  }
};

// Each of these is named on stderr and ends the process.
struct Attempt {
  const char* name;
  long (*act)();
};
class Attempts : public testing::TestWithParam<Attempt> {};

TEST_P(Attempts, EndTheProcess) {
  if (!probe_sandbox().seccomp.ok) GTEST_SKIP() << probe_sandbox().seccomp.detail;
  const Outcome outcome = in_sandbox({}, [] { return error_of(GetParam().act()); });
  EXPECT_EQ(outcome.signal, SIGSYS) << "exit code " << outcome.code;
  EXPECT_EQ(outcome.words,
            std::string("fib sandbox: refused system call '") + GetParam().name + "'\n");
}

int spin(void*) { return 0; }

INSTANTIATE_TEST_SUITE_P(
    Sandbox, Attempts,
    testing::Values(
        Attempt{"socket", [] { return long{::socket(AF_INET, SOCK_STREAM, 0)}; }},
        Attempt{"socketpair",
                [] {
                  int ends[2];
                  return long{::socketpair(AF_UNIX, SOCK_STREAM, 0, ends)};
                }},
        Attempt{"connect",
                [] {
                  sockaddr_in address{.sin_family = AF_INET};
                  return long{::connect(0, reinterpret_cast<sockaddr*>(&address), sizeof address)};
                }},
        Attempt{"execve",
                [] {
                  char name[] = "/bin/true";
                  char* arguments[] = {name, nullptr};
                  return long{::execve(name, arguments, arguments + 1)};
                }},
        Attempt{"execveat",
                [] { return ::syscall(SYS_execveat, 0, "/bin/true", nullptr, nullptr, 0); }},
        Attempt{"clone", [] { return long{::fork()}; }},
        Attempt{"clone",
                [] {
                  static char stack[16 << 10];
                  return long{::clone(spin, stack + sizeof stack, CLONE_VM | SIGCHLD, nullptr)};
                }},
        Attempt{"kill", [] { return long{::kill(::getppid(), SIGTERM)}; }},
        Attempt{"tgkill", [] { return ::syscall(SYS_tgkill, ::getppid(), ::getppid(), SIGTERM); }},
        Attempt{"ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
        Attempt{"process_vm_readv",
                [] { return ::syscall(SYS_process_vm_readv, ::getppid(), 0, 0, 0, 0, 0); }},
        Attempt{"pidfd_open", [] { return ::syscall(SYS_pidfd_open, ::getppid(), 0); }},
        Attempt{"bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); }},
        Attempt{"perf_event_open",
                [] { return ::syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0); }},
        Attempt{"userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); }},
        Attempt{"io_uring_setup", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }},
        Attempt{"memfd_create", [] { return ::syscall(SYS_memfd_create, "x", 0); }},
        Attempt{"mount", [] { return long{::mount("", "/", "tmpfs", 0, nullptr)}; }},
        Attempt{"unshare", [] { return long{::unshare(CLONE_NEWUSER)}; }},
        Attempt{"setns", [] { return long{::setns(0, 0)}; }},
        Attempt{"keyctl", [] { return ::syscall(SYS_keyctl, 0, 0, 0, 0, 0); }},
        Attempt{"unlinkat", [] { return long{::unlinkat(AT_FDCWD, "x", 0)}; }},
        Attempt{"seccomp", [] { return ::syscall(SYS_seccomp, 0, 0, nullptr); }}),
    [](const auto& info) {
      return info.param.name + std::string("_") + std::to_string(info.index);
    });

TEST_F(Sandbox, IoctlsAreDenied) {
  for (const char* device : {"/dev/null", "/dev/zero"}) {
    const int fd = ::open(device, O_RDONLY);
    ASSERT_GE(fd, 0);
    const Outcome outcome = in_sandbox({}, [fd] {
      int bytes = 0;
      return error_of(::ioctl(fd, FIONREAD, &bytes));
    });
    EXPECT_EQ(outcome.code, EPERM) << device;
    ::close(fd);
  }
}

TEST_F(Sandbox, NothingIsOpenedForWriting) {
  const std::filesystem::path folder = testing::TempDir();
  const std::string file = folder / "fib_sandbox_test";
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC}) {
    const Outcome outcome = in_sandbox({.readable = {folder}}, [&file, flags] {
      return error_of(::open(file.c_str(), flags, 0600));
    });
    EXPECT_EQ(outcome.code, EPERM) << flags;
  }
  const Outcome unnamed = in_sandbox({.readable = {folder}}, [&folder] {
    return error_of(::open(folder.c_str(), O_TMPFILE | O_RDWR, 0600));
  });
  EXPECT_EQ(unnamed.code, EPERM);
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(Sandbox, LimitsCannotBeRaisedAgain) {
  const Outcome outcome = in_sandbox({}, [] {
    const rlimit large{1 << 20, 1 << 20};
    return error_of(::setrlimit(RLIMIT_FSIZE, &large));
  });
  EXPECT_EQ(outcome.code, EPERM);
}

TEST_F(Sandbox, TheNamingHandlerCannotBeReplaced) {
  const Outcome outcome = in_sandbox({}, [] {
    if (::signal(SIGUSR1, SIG_IGN) == SIG_ERR) return 1;
    if (::signal(SIGSYS, SIG_IGN) != SIG_ERR) return 2;
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    return error_of(::socket(AF_INET, SOCK_STREAM, 0));
  });
  EXPECT_EQ(outcome.signal, SIGSYS);
}

TEST_F(Sandbox, ComputingGoesOn) {
  const Outcome outcome = in_sandbox({}, [] {
    const size_t bytes = 64 << 20;
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ::munmap(memory, bytes) != 0) return 1;
    std::string text(1 << 20, 'x');
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return text.size() == 1 << 20 ? 42 : 2;
  });
  EXPECT_EQ(outcome.code, 42);
}

#ifdef SYS_arch_prctl
TEST_F(Sandbox, TileRegistersMayBeAskedFor) {
  const auto ask = [] {  // as fib/cpu/tiles.h does: ARCH_REQ_XCOMP_PERM, XTILEDATA
    return error_of(::syscall(SYS_arch_prctl, 0x1023, 18));
  };
  EXPECT_EQ(in_sandbox({}, ask).code, ask()) << "where there are none, the kernel says so";
}
#endif

TEST_F(Sandbox, AbortIsStillAnAbort) {
  const Outcome outcome = in_sandbox({}, []() -> int { ::abort(); });
  EXPECT_EQ(outcome.signal, SIGABRT);
}

TEST_F(Sandbox, MemoryIsLimited) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer reserves more address space than any limit";
#endif
  const Outcome outcome = in_sandbox({.memory_bytes = 1 << 30}, [] {
    return ::mmap(nullptr, size_t{2} << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? errno
               : 0;
  });
  EXPECT_EQ(outcome.code, ENOMEM);
}

TEST_F(Sandbox, ProcessorTimeIsLimited) {
  const Outcome outcome = in_sandbox({.cpu_seconds = 1}, []() -> int {
    while (true) std::atomic_signal_fence(std::memory_order_seq_cst);
  });
  EXPECT_TRUE(outcome.signal == SIGXCPU || outcome.signal == SIGKILL) << outcome.signal;
}

TEST_F(Sandbox, ThreadsStartedOnTheWayInAreUnderTheSameRules) {
  const Outcome outcome =
      in_sandbox({.start_threads =
                      [] {
                        std::thread([] {
                          std::this_thread::sleep_for(std::chrono::milliseconds(200));
                          ::socket(AF_INET, SOCK_STREAM, 0);
                        }).detach();
                      }},
                 [] {
                   std::this_thread::sleep_for(std::chrono::seconds(10));
                   return 0;
                 });
  EXPECT_EQ(outcome.signal, SIGSYS);
}

TEST_F(Sandbox, ANewThreadEndsTheProcess) {
  const Outcome outcome = in_sandbox({}, [] {
    std::thread([] {}).join();
    return 0;
  });
  EXPECT_EQ(outcome.signal, SIGSYS);
}

TEST_F(Sandbox, ThreadsMayBeAllowedLater) {
  const Outcome outcome = in_sandbox({.allow_threads = true}, [] {
    int value = 0;
    std::thread([&value] { value = 42; }).join();
    return value;
  });
  EXPECT_EQ(outcome.code, 42) << outcome.words;
  const Outcome fork = in_sandbox({.allow_threads = true}, [] { return error_of(::fork()); });
  EXPECT_EQ(fork.signal, SIGSYS);
}

TEST_F(Files, OnlyListedOnesAreReadable) {
  const SandboxPolicy policy{.readable = {"/usr/lib", "/no/such/folder"}};
  const auto open = [](const char* path) {
    return [path] { return error_of(::open(path, O_RDONLY)); };
  };
  EXPECT_EQ(in_sandbox(policy, open("/usr/lib")).code, 0);
  for (const char* path : {"/etc/passwd", "/", "/dev/null", "/proc/self/maps", "/usr/include"}) {
    EXPECT_EQ(in_sandbox(policy, open(path)).code, EACCES) << path;
  }
}

TEST_F(Files, ALibraryIsLoadedFromAListedFolder) {
  const Outcome outcome = in_sandbox({.readable = system_folders()}, [] {
    return ::dlopen("libz.so.1", RTLD_NOW) != nullptr || ::dlopen("libm.so.6", RTLD_NOW) ? 42 : 1;
  });
  EXPECT_EQ(outcome.code, 42) << outcome.words;
}

TEST(SandboxProbe, SaysWhatThereIs) {
  const SandboxAbilities abilities = probe_sandbox();
  EXPECT_FALSE(abilities.seccomp.detail.empty());
  EXPECT_FALSE(abilities.landlock.detail.empty());
  EXPECT_FALSE(abilities.user_namespaces.detail.empty());
  if (!abilities.seccomp.ok) GTEST_SKIP() << abilities.seccomp.detail;
  EXPECT_THAT(abilities.seccomp.detail, HasSubstr("libseccomp 2."));
}

}  // namespace
}  // namespace fib
