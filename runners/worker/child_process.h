#pragma once

// A program in its own process group, with a minimal environment, resource limits and its output
// drained into a bounded buffer. Workers and compilers are both run through it. The program does
// not outlive its ChildProcess, nor the process that holds it.

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

using Deadline = std::chrono::steady_clock::time_point;
Deadline deadline_in(double seconds);

struct WorkerExit {
  bool exited = false;
  int code = 0;
  int signal = 0;                // 0: none
  std::string describe() const;  // "killed by signal 11 (segmentation fault)"
};

// 0 leaves a limit as it is.
struct ResourceLimits {
  size_t address_space_bytes = 0;
  size_t file_bytes = 0;  // the largest file it may write
  int cpu_seconds = 0;
};

struct ChildOptions {
  std::filesystem::path executable;
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;  // the whole of it
  std::filesystem::path working_folder;                          // empty: the parent's
  std::vector<int> inherited_fds;  // by the same number; every other one is closed
  int landlock_ruleset = -1;       // runners/worker/landlock.h; -1: unconfined
  int input_fd = -1;               // its stdin; -1: nothing to read
  enum class Errors { kWithOutput, kApart } errors = Errors::kWithOutput;  // its stderr
  ResourceLimits limits;
  size_t max_output_bytes = 64 << 10;
};

class ChildProcess {
 public:
  static Result<std::unique_ptr<ChildProcess>> start(ChildOptions options);
  ~ChildProcess();  // kills the group

  bool running() const;
  void kill();  // the whole group, at once
  // Kills it and doesn't wait until it is gone: a device's driver may take its time to let it go.
  void abandon();
  WorkerExit wait();
  bool wait_until(Deadline deadline);  // false: still running
  // stdout and stderr in the order in which they were written: the first and the last half of
  // max_output_bytes, with a note in between of what was left out.
  std::string output() const;
  bool has_lost_output() const;  // it wrote more than that
  std::string errors() const;    // stderr where it is kept apart, bounded the same way

 private:
  struct State;
  explicit ChildProcess(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // shared with the thread that keeps it
};

}  // namespace fib
