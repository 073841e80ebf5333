// silu(gate) * up in float32, rounded once.

#include <fib/device/launch.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::Bf16;

// gate_up [tokens, 2 * kIntermediate] bf16, gate first; output [tokens, kIntermediate] bf16.
// A thread an access of the output.
__global__ void __launch_bounds__(kThreads)
    silu_and_mul(const Bf16* gate_up, Bf16* output, int tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const size_t at = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  const size_t token = at / kVectors;
  if (token >= tokens) return;
  const Bf16* const from = gate_up + token * (2 * kIntermediate) + at % kVectors * kWidth;
  const auto gate = fib::load<Bf16, kWidth>(from);
  const auto up = fib::load<Bf16, kWidth>(from + kIntermediate);
  fib::Pack<Bf16, kWidth> result;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float x = to_float(gate.at[i]);
    from_float(x / (1.0f + __expf(-x)) * to_float(up.at[i]), result.at[i]);
  }
  fib::store<Bf16, kWidth>(output + at * kWidth, result);
}
