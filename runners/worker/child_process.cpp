#include "runners/worker/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <boost/process/args.hpp>
#include <boost/process/child.hpp>
#include <boost/process/env.hpp>
#include <boost/process/environment.hpp>
#include <boost/process/exe.hpp>
#include <boost/process/extend.hpp>
#include <boost/process/start_dir.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "runners/worker/file_descriptor.h"
#include "runners/worker/landlock.h"

namespace fib {
namespace {

namespace process = boost::process;

// Keeps the beginning (where compilers put the error that matters) and the end (a process's last
// words) of a text of any length.
class BoundedText {
 public:
  explicit BoundedText(size_t max_bytes) : half_(max_bytes / 2) {}

  void append(std::string_view text) {
    const size_t to_head = std::min(text.size(), half_ - head_.size());
    head_.append(text.substr(0, to_head));
    tail_.append(text.substr(to_head));
    if (tail_.size() > 2 * half_) drop_middle();
  }

  bool has_lost() const { return dropped_ > 0 || tail_.size() > half_; }

  std::string text() const {
    BoundedText copy = *this;
    if (copy.tail_.size() > copy.half_) copy.drop_middle();
    if (copy.dropped_ == 0) return copy.head_ + copy.tail_;
    return fmt::format("{}\n[... {} bytes left out ...]\n{}", copy.head_, copy.dropped_,
                       copy.tail_);
  }

 private:
  void drop_middle() {
    const size_t excess = tail_.size() - half_;
    tail_.erase(0, excess);
    dropped_ += excess;
  }

  size_t half_;
  std::string head_, tail_;
  size_t dropped_ = 0;
};

// What the new process does between fork and exec. Only async-signal-safe calls: the parent has
// threads.
struct ChildSetup {
  pid_t parent;
  int input, output, errors;
  const std::vector<int>* inherited_fds;
  int landlock_ruleset;
  ResourceLimits limits;

  void operator()() const {
    ::setpgid(0, 0);
    // Tied to the thread that forked, hence the keeper thread below.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);  // died before the line above
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);

    ::dup2(input, 0);
    ::dup2(output, 1);
    ::dup2(errors, 2);
    close_on_exec_from(3);
    for (const int fd : *inherited_fds) ::fcntl(fd, F_SETFD, 0);

    be_first_to_go();
    limit(RLIMIT_CORE, 0);
    if (limits.address_space_bytes > 0) limit(RLIMIT_AS, limits.address_space_bytes);
    if (limits.file_bytes > 0) limit(RLIMIT_FSIZE, limits.file_bytes);
    if (limits.cpu_seconds > 0) limit(RLIMIT_CPU, static_cast<rlim_t>(limits.cpu_seconds));
    if (landlock_ruleset >= 0 && !restrict_self(landlock_ruleset)) ::_exit(126);
  }

 private:
  static void limit(__rlimit_resource resource, rlim_t value) {
    const rlimit both{value, value};
    ::setrlimit(resource, &both);
  }

  // When memory runs out, the kernel should end a candidate, not the harness.
  static void be_first_to_go() {
    const int score = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score < 0) return;
    (void)!::write(score, "1000", 4);  // refused in some containers: as well
    ::close(score);
  }

  // Files that the parent opened without O_CLOEXEC would otherwise be readable in the child.
  static void close_on_exec_from(unsigned first) {
    constexpr unsigned kCloseRangeCloexec = 1u << 2;
    if (::syscall(SYS_close_range, first, ~0u, kCloseRangeCloexec) == 0) return;
    rlimit open_files{};  // Linux before 5.11
    ::getrlimit(RLIMIT_NOFILE, &open_files);
    const rlim_t end = std::min<rlim_t>(open_files.rlim_cur, 1 << 16);
    for (rlim_t fd = first; fd < end; ++fd) ::fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
  }
};

struct StandardStreams {
  int input, output, errors;
};

Result<pid_t> spawn(const ChildOptions& options, const StandardStreams& streams) {
  process::environment environment;
  for (const auto& [name, value] : options.environment) environment[name] = value;
  const ChildSetup setup{::getpid(),     streams.input,          streams.output,
                         streams.errors, &options.inherited_fds, options.landlock_ruleset,
                         options.limits};
  std::error_code problem;
  const std::string folder =
      options.working_folder.empty() ? std::string(".") : options.working_folder.string();
  process::child child(
      process::exe = options.executable.string(), process::args = options.arguments,
      process::start_dir = folder, environment, problem,
      process::extend::on_exec_setup = [&setup](auto&) { setup(); });
  if (problem) {
    return fail(ErrorCode::kEnvironment, "can't be started: " + problem.message(),
                options.executable.string());
  }
  const pid_t pid = child.id();
  child.detach();
  return pid;
}

}  // namespace

Deadline deadline_in(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<Deadline::duration>(std::chrono::duration<double>(seconds));
}

std::string WorkerExit::describe() const {
  if (signal == 0) return exited ? fmt::format("exited with code {}", code) : "still running";
  std::string name = ::strsignal(signal);
  name[0] = static_cast<char>(::tolower(name[0]));
  return fmt::format("killed by signal {} ({})", signal, name);
}

struct ChildProcess::State {
  ChildOptions options;
  FileDescriptor output_reader, errors_reader;  // the second only where errors are kept apart
  std::thread keeper;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::optional<WorkerExit> exit;  // set when the process has been reaped
  BoundedText output, errors;
  pid_t pid = 0;

  explicit State(ChildOptions given)
      : options(std::move(given)),
        output(options.max_output_bytes),
        errors(options.max_output_bytes) {}

  // The thread that starts the process also drains its output and reaps it, because the kernel
  // kills the process (PR_SET_PDEATHSIG) when the *thread* that forked it ends.
  void keep(std::promise<Result<void>> started) {
    if (auto ready = launch(); !ready) {
      started.set_value(fail(std::move(ready).error()));
      return;
    }
    started.set_value({});
    // Without pidfd_open (Linux before 5.3) the process is looked at now and then.
    const FileDescriptor pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const int patience_ms = pidfd.valid() ? -1 : 20;
    while (!is_dead()) {
      pollfd waits[3] = {{pidfd.get(), POLLIN, 0},
                         {output_reader.get(), POLLIN, 0},  // poll ignores fd -1
                         {errors_reader.get(), POLLIN, 0}};
      ::poll(waits, 3, patience_ms);
      if (waits[1].revents != 0) drain(output_reader, output);
      if (waits[2].revents != 0) drain(errors_reader, errors);
    }
    finish();
  }

  Result<void> launch() {
    FileDescriptor output_writer = FIB_TRY(open_pipe(output_reader));
    FileDescriptor errors_writer;
    const bool is_apart = options.errors == ChildOptions::Errors::kApart;
    if (is_apart) errors_writer = FIB_TRY(open_pipe(errors_reader));
    const FileDescriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    pid = FIB_TRY(spawn(
        options, {options.input_fd >= 0 ? options.input_fd : nothing.get(), output_writer.get(),
                  is_apart ? errors_writer.get() : output_writer.get()}));
    return {};
  }

  // Returns the end for writing.
  Result<FileDescriptor> open_pipe(FileDescriptor& reader) const {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("no pipe for its output: {}", ::strerror(errno)),
                  options.executable.string());
    }
    reader = FileDescriptor(ends[0]);
    ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
    return FileDescriptor(ends[1]);
  }

  // Reads what is there; closes the reader at the end.
  void drain(FileDescriptor& reader, BoundedText& text) {
    char buffer[16 << 10];
    while (reader.valid()) {
      const ssize_t count = ::read(reader.get(), buffer, sizeof buffer);
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (count <= 0) return reader.reset();
      const std::lock_guard lock(mutex);
      text.append({buffer, static_cast<size_t>(count)});
    }
  }

  // A dead process is left as a zombie here, so that its id can't have been given to another.
  bool is_dead() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT | WNOHANG) == 0 &&
           info.si_pid == pid;
  }

  void finish() {
    drain(output_reader, output);
    drain(errors_reader, errors);
    const std::lock_guard lock(mutex);
    ::kill(-pid, SIGKILL);  // what it left behind
    int status = 0;
    ::waitpid(pid, &status, 0);
    exit = WorkerExit{.exited = true};
    if (WIFSIGNALED(status)) {
      exit->signal = WTERMSIG(status);
    } else {
      exit->code = WEXITSTATUS(status);
    }
    changed.notify_all();
  }
};

ChildProcess::ChildProcess(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(ChildOptions options) {
  auto state = std::make_shared<State>(std::move(options));
  std::promise<Result<void>> started;
  auto outcome = started.get_future();
  state->keeper = std::thread(
      [state, promise = std::move(started)]() mutable { state->keep(std::move(promise)); });
  auto result = outcome.get();
  if (!result) {
    state->keeper.join();
    return fail(std::move(result).error());
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(std::move(state)));
}

ChildProcess::~ChildProcess() {
  kill();
  if (state_->keeper.joinable()) state_->keeper.join();
}

void ChildProcess::abandon() {
  kill();
  if (state_->keeper.joinable()) state_->keeper.detach();  // and reaps it when it is gone
}

bool ChildProcess::running() const {
  const std::lock_guard lock(state_->mutex);
  return !state_->exit && !state_->is_dead();
}

void ChildProcess::kill() {
  const std::lock_guard lock(state_->mutex);
  if (state_->exit) return;
  // The group may not be there yet if the process has not run since the fork.
  ::kill(-state_->pid, SIGKILL);
  ::kill(state_->pid, SIGKILL);
}

WorkerExit ChildProcess::wait() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->exit.has_value(); });
  return *state_->exit;
}

bool ChildProcess::wait_until(Deadline deadline) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_until(lock, deadline, [this] { return state_->exit.has_value(); });
}

std::string ChildProcess::output() const {
  const std::lock_guard lock(state_->mutex);
  return state_->output.text();
}

bool ChildProcess::has_lost_output() const {
  const std::lock_guard lock(state_->mutex);
  return state_->output.has_lost();
}

std::string ChildProcess::errors() const {
  const std::lock_guard lock(state_->mutex);
  return state_->errors.text();
}

}  // namespace fib
