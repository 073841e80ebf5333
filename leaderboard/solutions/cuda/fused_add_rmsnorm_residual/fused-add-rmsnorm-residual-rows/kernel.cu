// rmsnorm(hidden_states + residual), and the sum itself, in one pass: a group of kThreads threads
// holds the sum of a whole row in registers as float32, so each value crosses device memory once
// and what is normalised is the sum before it was rounded. Short rows share a block, long rows have
// one to themselves.

#include <fib/device/launch.h>
#include <fib/device/reduce.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::Bf16;

// hidden_states, residual, output and residual_out [rows, kHidden] bf16, weight [kHidden] bf16. An
// output may be the memory of an input: a thread reads its places of a row before it writes them.
// Block (kThreads, rows_per_block(kThreads)).
template <int kThreads>
__global__ void __launch_bounds__(kThreads* rows_per_block(kThreads))
    fused_add_rmsnorm(const Bf16* hidden_states, const Bf16* residual,
                      const Bf16* __restrict__ weight, Bf16* output, Bf16* residual_out, int rows) {
  constexpr int kPerThread = (kVectors + kThreads - 1) / kThreads;
  const int row = blockIdx.x * rows_per_block(kThreads) + threadIdx.y;
  // Lanes of a row beyond the end go on with the last row: the shuffles need them.
  const size_t base = static_cast<size_t>(row < rows ? row : rows - 1) * kHidden;

  fib::let_next_kernel_start();
  fib::Pack<Bf16, kWidth> x[kPerThread], r[kPerThread], w[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int vector = threadIdx.x + i * kThreads;
    if (vector < kVectors) w[i] = fib::load<Bf16, kWidth>(weight + vector * kWidth);
  }
  fib::wait_for_previous_kernel();
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int vector = threadIdx.x + i * kThreads;
    if (vector >= kVectors) continue;
    x[i] = fib::load<Bf16, kWidth>(hidden_states + base + vector * kWidth);
    r[i] = fib::load<Bf16, kWidth>(residual + base + vector * kWidth);
  }
  float sum[kPerThread][kWidth];
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (threadIdx.x + i * kThreads >= kVectors) continue;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      sum[i][j] = to_float(x[i].at[j]) + to_float(r[i].at[j]);
      squares += sum[i][j] * sum[i][j];
    }
  }
  if constexpr (kThreads <= 32) {
    squares = fib::sum_over_lanes<kThreads>(squares);
  } else {
    squares = fib::sum_over_row<kThreads>(squares);
  }
  const float scale = rsqrtf(squares / kHidden + static_cast<float>(FIB_PARAM_eps));
  if (row >= rows) return;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int vector = threadIdx.x + i * kThreads;
    if (vector >= kVectors) continue;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      from_float(sum[i][j] * scale * to_float(w[i].at[j]), x[i].at[j]);
      from_float(sum[i][j], r[i].at[j]);
    }
    fib::store<Bf16, kWidth>(residual_out + base + vector * kWidth, r[i]);
    fib::store<Bf16, kWidth>(output + base + vector * kWidth, x[i]);
  }
}
