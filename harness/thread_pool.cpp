#include "harness/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>

namespace fib {

ThreadPool::ThreadPool(int threads) {
  for (int i = 0; i < std::max(threads, 1); ++i) threads_.emplace_back([this] { run(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::submit(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  ready_.notify_one();
}

void ThreadPool::run() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

ParallelFor parallel_on(int threads) {
  return [threads](int64_t count, const std::function<void(int64_t, int64_t)>& body) {
    if (count <= 0) return;
    const int workers = static_cast<int>(std::clamp<int64_t>(threads, 1, count));
    if (workers == 1) return body(0, count);
    // Eight chunks a thread: enough to even out rows of unequal cost.
    const int64_t chunk = std::max<int64_t>(1, count / (workers * 8));
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
    const auto work = [&] {
      try {
        for (int64_t begin; (begin = next.fetch_add(chunk)) < count;) {
          body(begin, std::min(begin + chunk, count));
        }
      } catch (...) {
        next = count;
        std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
      }
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < workers; ++i) helpers.emplace_back(work);
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
  };
}

}  // namespace fib
