// RMSNorm in one pass: a group of kThreads threads holds a whole row in registers, so each value
// crosses device memory once. Short rows share a block, long rows have one to themselves.

#include <fib/device/reduce.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::Bf16;

// hidden_states and output [rows, kHidden] bf16, weight [kHidden] bf16.
// Block (kThreads, rows_per_block(kThreads)).
template <int kThreads>
__global__ void __launch_bounds__(kThreads* rows_per_block(kThreads))
    rmsnorm(const Bf16* __restrict__ hidden_states, const Bf16* __restrict__ weight,
            Bf16* __restrict__ output, int rows) {
  constexpr int kPerThread = (kVectors + kThreads - 1) / kThreads;
  const int row = blockIdx.x * rows_per_block(kThreads) + threadIdx.y;
  // Lanes of a row beyond the end go on with the last row: the shuffles need them.
  const size_t base = static_cast<size_t>(row < rows ? row : rows - 1) * kHidden;

  fib::Pack<Bf16, kWidth> x[kPerThread], w[kPerThread];
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int vector = threadIdx.x + i * kThreads;
    if (vector < kVectors) x[i] = fib::load<Bf16, kWidth>(hidden_states + base + vector * kWidth);
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {  // before the sum, to share the wait
    const int vector = threadIdx.x + i * kThreads;
    if (vector < kVectors) w[i] = fib::load<Bf16, kWidth>(weight + vector * kWidth);
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (threadIdx.x + i * kThreads >= kVectors) continue;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float value = to_float(x[i].at[j]);
      squares += value * value;
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
      from_float(to_float(x[i].at[j]) * scale * to_float(w[i].at[j]), x[i].at[j]);
    }
    fib::store<Bf16, kWidth>(output + base + vector * kWidth, x[i]);
  }
}
