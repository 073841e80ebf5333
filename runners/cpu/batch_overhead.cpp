#include "runners/cpu/batch_overhead.h"

#include "harness/statistics.h"

namespace fib {

double batch_overhead_ns(std::span<const double> empty_batches_ns) {
  return quantile(empty_batches_ns, 0.1);
}

}  // namespace fib
