#pragma once

// FibCall::parallel_for of an open CPU: on the caller's threads or on the package's own.

#include <atomic>
#include <optional>

#include "integrations/package/include/fib_kernels.h"
#include "runners/cpu/worker_pool.h"

namespace fib::package {

class ParallelLoop {
 public:
  explicit ParallelLoop(const fib_kernels_device_options& options);

  int threads() const { return threads_; }
  // Several threads may call it. Our own pool does one job at a time: others' are done by those
  // who bring them.
  void run(int64_t count, int64_t grain, FibBody body, void* context);

 private:
  int threads_ = 1;
  fib_kernels_parallel_for callers_ = nullptr;
  void* callers_host_ = nullptr;
  std::optional<WorkerPool> pool_;
  std::atomic_flag is_busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace fib::package
