#pragma once

// A plain pool for references, comparisons and compiles. Not for candidates.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "reference/reference.h"

namespace fib {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();  // runs what was submitted, then joins
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()); }
  void submit(std::function<void()> task);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

// Splits [0, count) over `threads` threads of its own, the caller's among them; chunks are handed
// out as threads become free. An exception of a body is rethrown in the caller.
ParallelFor parallel_on(int threads);

}  // namespace fib
