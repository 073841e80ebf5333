#pragma once

// The parent's end of one worker process: starts it, speaks runners/cpu/cpu_worker.h's messages, owns
// the clock. Every failure after the candidate was loaded is the candidate's.

#include <memory>
#include <vector>

#include "harness/runner.h"
#include "runners/cpu/arena.h"
#include "runners/cpu/processor_affinity.h"
#include "runners/cpu/trouble.h"
#include "runners/worker/process.h"

namespace fib {

struct WorkerLinkOptions {
  std::filesystem::path executable;  // the fib binary
  std::filesystem::path library;     // the candidate
  int threads = 1;
  size_t memory_bytes = 0;           // address space, the arena included
  double timeout_s = 30.0;           // of each answer
};

// Offsets into the arena, -1: a null pointer.
struct CallPlaces {
  std::vector<int64_t> inputs, outputs;
  int64_t workspace = -1;
  int64_t prepared = -1;
};

struct BatchTime {
  double elapsed_ns = 0.0;  // doorbell to answer, by the parent's clock
  double busy_ns = 0.0;     // around the calls, by the worker's
};

class WorkerLink {
 public:
  // Loads the candidate: what its static constructors do wrong is its fault already.
  static Attempt<WorkerLink> start(const WorkerLinkOptions& options);

  struct Needs {
    size_t workspace_bytes = 0;
    size_t prepared_bytes = 0;
  };
  Attempt<Needs> pose(const Problem& problem, const InputSet& scalars);
  // The arena must outlive what follows.
  Attempt<void> map(const SharedMemory& arena);
  Attempt<double> prepare(const CallPlaces& places);  // nanoseconds
  // `at_return` runs as soon as the answer is there, while nothing may change any more.
  Attempt<BatchTime> run_batch(const std::vector<CallPlaces>& calls,
                               const std::function<void()>& at_return);

  bool prepares() const { return prepares_; }
  // What the sandbox couldn't do on this kernel.
  const std::vector<std::string>& sandbox_gaps() const { return sandbox_gaps_; }
  bool alive() { return worker_->alive(); }
  void set_timeout(double timeout_s) { timeout_s_ = timeout_s; }
  std::string stderr_tail() { return worker_->stderr_tail(); }

 private:
  WorkerLink() = default;
  Attempt<Json> ask(const Json& request, std::string_view during, std::span<const int> fds = {});
  // Until `word` holds `ticket`.
  Attempt<void> await(std::atomic<uint32_t>& word, uint32_t ticket, Deadline deadline);
  Trouble explain(Error error, std::string_view during);

  std::optional<ProcessorSplit> processors_;
  std::unique_ptr<WorkerProcess> worker_;
  double timeout_s_ = 0.0;
  bool prepares_ = false;
  std::vector<std::string> sandbox_gaps_;
  BatchControl* control_ = nullptr;
  uint32_t ticket_ = 0;
};

}  // namespace fib
