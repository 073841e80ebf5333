// RMSNorm as one would write it first: a block a row, two passes over it, one value at a time.

#include <fib/device/convert.h>
#include <fib/device/reduce.h>

using fib::Bf16;

// An enumeration, because NVRTC makes a variable of every constexpr at namespace scope.
enum : int {
  kHidden = FIB_AXIS_hidden_size,
  kThreads = 256,
};

// hidden_states and output [rows, kHidden] bf16, weight [kHidden] bf16; block kThreads, grid rows.
__global__ void rmsnorm_plain(const Bf16* hidden_states, const Bf16* weight, Bf16* output) {
  const size_t base = static_cast<size_t>(blockIdx.x) * kHidden;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < kHidden; i += kThreads) {
    const float value = to_float(hidden_states[base + i]);
    squares += value * value;
  }
  squares = fib::sum_over_row<kThreads>(squares);
  const float scale = rsqrtf(squares / kHidden + static_cast<float>(FIB_PARAM_eps));
  for (int i = threadIdx.x; i < kHidden; i += kThreads) {
    from_float(to_float(hidden_states[base + i]) * scale * to_float(weight[i]), output[base + i]);
  }
}
