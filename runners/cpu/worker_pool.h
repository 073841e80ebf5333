#pragma once

// The threads behind FibCall::parallel_for. They are started before the sandbox closes and the
// candidate is loaded; the candidate starts none of its own.

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "harness/abi/fib/cpu.h"

namespace fib {

class WorkerPool {
 public:
  explicit WorkerPool(int threads);  // the caller of run() is one of them
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // As FibCall::parallel_for promises: chunks of at least `grain` are handed out as threads become
  // free.
  void run(int64_t count, int64_t grain, FibBody body, void* context);

  // Wakes sleeping threads, so that the next run() finds them spinning.
  void rouse();

 private:
  void serve();
  void work();

  // The job, published by `generation_`.
  FibBody body_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  int64_t chunk_ = 1;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<uint32_t> busy_{0};  // threads that have not finished the job
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> closing_{false};
  std::vector<std::thread> threads_;
};

}  // namespace fib
