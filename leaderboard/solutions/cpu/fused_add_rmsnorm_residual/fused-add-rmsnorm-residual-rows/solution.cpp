// fused_add_rmsnorm_residual, sixteen lanes at a time.
// hidden_states, residual [batch_size, hidden_size] bf16, weight [hidden_size] bf16
//   -> output and residual_out like them: s = hidden_states + residual rounded to bf16, and
//      s / sqrt(mean(s^2) + eps) * weight.
//
// Two passes over a row: the first writes s and sums its squares into four accumulators, so that
// the additions don't wait for one another; the second reads s back from L1. residual_out may be
// residual's memory: each element is read before it is written.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>

#include <cmath>

namespace {

using namespace fib;

constexpr int64_t kHidden = FIB_AXIS_hidden_size;
static_assert(kHidden % kLanes == 0, "rows are read sixteen elements at a time");

// The sum of two rows' next sixteen elements, rounded.
Floats add(const uint16_t* hidden, const uint16_t* residual, uint16_t* sum) {
  const Halves rounded = narrow(load(hidden) + load(residual));
  memcpy(sum, &rounded, sizeof rounded);
  return widen(rounded);
}

void normalise(const uint16_t* hidden, const uint16_t* residual, const uint16_t* weight,
               uint16_t* out, uint16_t* sum) {
  constexpr int64_t kUnrolled = kHidden / (4 * kLanes) * (4 * kLanes);
  Floats squares[4] = {};
  int64_t i = 0;
  for (; i < kUnrolled; i += 4 * kLanes) {
    for (int part = 0; part < 4; ++part) {
      const int64_t at = i + part * kLanes;
      const Floats x = add(hidden + at, residual + at, sum + at);
      squares[part] = fma(x, x, squares[part]);
    }
  }
  for (; i < kHidden; i += kLanes) {
    const Floats x = add(hidden + i, residual + i, sum + i);
    squares[0] = fma(x, x, squares[0]);
  }
  const float mean = sum_of((squares[0] + squares[1]) + (squares[2] + squares[3])) / kHidden;
  const float scale = 1.0f / std::sqrt(mean + static_cast<float>(FIB_PARAM_eps));
  for (i = 0; i < kHidden; i += kLanes) store(out + i, load(sum + i) * scale * load(weight + i));
}

void rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* hidden = static_cast<const uint16_t*>(call.inputs[0].data);
  const auto* residual = static_cast<const uint16_t*>(call.inputs[1].data);
  const auto* weight = static_cast<const uint16_t*>(call.inputs[2].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  auto* sum = static_cast<uint16_t*>(call.outputs[1].data);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * kHidden;
    normalise(hidden + at, residual + at, weight, output + at, sum + at);
  }
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  // Waking a thread costs more than a few rows do: at least 32 KiB of input a task.
  constexpr int64_t kGrain = (32 * 1024 + 4 * kHidden - 1) / (4 * kHidden);
  call->parallel_for(call, call->inputs[0].shape[0], kGrain, rows, const_cast<FibCall*>(call));
  return 0;
}
