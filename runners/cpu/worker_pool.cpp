#include "runners/cpu/worker_pool.h"

#include <algorithm>

#include "runners/cpu/futex.h"

namespace fib {
namespace {

constexpr int64_t kSpinBetweenCallsNs = 2'000'000;  // longer than between the calls of a batch
constexpr int64_t kChunksPerThread = 4; // evens out threads that start late

void nothing(int64_t, int64_t, void*) {}

}  // namespace

WorkerPool::WorkerPool(int threads) {
  for (int i = 1; i < threads; ++i) threads_.emplace_back([this] { serve(); });
}

WorkerPool::~WorkerPool() {
  closing_.store(true);
  generation_.fetch_add(1);
  futex_wake_all(generation_, FutexScope::kThreads);
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::run(int64_t count, int64_t grain, FibBody body, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  // One chunk is not worth waking anyone.
  if (threads_.empty() || count <= grain) {
    body(0, count, context);
    return;
  }
  body_ = body;
  context_ = context;
  count_ = count;
  chunk_ = std::max(grain, (count + size() * kChunksPerThread - 1) / (size() * kChunksPerThread));
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<uint32_t>(threads_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);
  if (sleepers_.load() > 0) futex_wake_all(generation_, FutexScope::kThreads);
  work();
  // The threads are running by now and their last chunks are short: no sleeping here.
  while (!spin_for(busy_, 0, kSpinBetweenCallsNs)) {
  }
}

void WorkerPool::rouse() {
  run(size(), 1, nothing, nullptr);
}

void WorkerPool::work() {
  for (;;) {
    const int64_t begin = next_.fetch_add(chunk_, std::memory_order_relaxed);
    if (begin >= count_) return;
    body_(begin, std::min(begin + chunk_, count_), context_);
  }
}

void WorkerPool::serve() {
  uint32_t seen = 0;
  for (;;) {
    if (!spin_for(generation_, seen + 1, kSpinBetweenCallsNs)) {
      sleepers_.fetch_add(1);
      while (generation_.load() == seen) futex_wait(generation_, seen, -1, FutexScope::kThreads);
      sleepers_.fetch_sub(1);
    }
    // run() returns only when every thread has finished, so no generation is ever missed.
    ++seen;
    if (closing_.load()) return;
    work();
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace fib
