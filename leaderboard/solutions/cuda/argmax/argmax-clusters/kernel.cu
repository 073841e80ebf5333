// The first index of each row's largest value. The blocks of a cluster share a row. A row with NaN
// has no largest: its token is -1, so that a broken model is noticed.

#include <fib/device/cluster.h>
#include <fib/device/launch.h>
#include <fib/device/reduce.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::u64;

// logits [rows, kVocabulary] float32, token_ids [rows] int32. Grid: the blocks of a cluster, by
// rows.
__global__ void __launch_bounds__(kThreads) argmax(const float* logits, int* token_ids) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const float* const row = logits + static_cast<size_t>(blockIdx.y) * kVocabulary;
  const int step = gridDim.x * kThreads;
  u64 largest = 0;
#pragma unroll 4
  for (int vector = blockIdx.x * kThreads + threadIdx.x; vector < kVectors; vector += step) {
    const auto values = fib::load<float, kWidth>(row + vector * kWidth);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      largest = max(largest, fib::ordered_pair(values.at[i], vector * kWidth + i));
    }
  }
  largest = fib::max_over_block<kThreads>(largest);
  if (gridDim.x > 1) largest = fib::max_over_cluster(largest);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    token_ids[blockIdx.y] =
        fib::is_of_nan(largest) ? -1 : static_cast<int>(fib::index_of(largest));
  }
}
