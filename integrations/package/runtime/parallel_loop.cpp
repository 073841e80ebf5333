#include "integrations/package/runtime/parallel_loop.h"

#include "runners/cpu/host_identity.h"

namespace fib::package {

ParallelLoop::ParallelLoop(const fib_kernels_device_options& options)
    : threads_(options.num_threads > 0 ? options.num_threads : host_threads()),
      callers_(options.parallel_for),
      callers_host_(options.parallel_host) {
  if (callers_ == nullptr) pool_.emplace(threads_);
}

void ParallelLoop::run(int64_t count, int64_t grain, FibBody body, void* context) {
  if (count <= 0) return;
  if (callers_ != nullptr) return callers_(callers_host_, count, grain, body, context);
  if (is_busy_.test_and_set(std::memory_order_acquire)) return body(0, count, context);
  pool_->run(count, grain, body, context);
  is_busy_.clear(std::memory_order_release);
}

}  // namespace fib::package
