// fused_add_rmsnorm: output = rmsnorm(hidden_states + residual), sixteen lanes at a time.
// hidden_states, residual [batch_size, hidden_size] bf16, weight [hidden_size] bf16
//   -> output [batch_size, hidden_size] bf16.
//
// The sum is made once, in fp32, and kept on the stack (16 KiB at hidden_size 4096) between the
// pass that measures it and the pass that scales it.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>

#include <cmath>

namespace {

using namespace fib;

constexpr int64_t kHidden = FIB_AXIS_hidden_size;
static_assert(kHidden % kLanes == 0, "rows are read sixteen elements at a time");

void add_and_normalise(const uint16_t* hidden, const uint16_t* residual, const uint16_t* weight,
                       uint16_t* out) {
  constexpr int64_t kVectors = kHidden / kLanes;
  Floats row[kVectors];
  Floats sums[4] = {};
  for (int64_t v = 0; v < kVectors; ++v) {
    row[v] = load(hidden + v * kLanes) + load(residual + v * kLanes);
    sums[v % 4] = fma(row[v], row[v], sums[v % 4]);
  }
  const float sum = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
  const float scale = 1.0f / std::sqrt(sum / kHidden + static_cast<float>(FIB_PARAM_eps));
  for (int64_t v = 0; v < kVectors; ++v)
    store(out + v * kLanes, row[v] * scale * load(weight + v * kLanes));
}

void rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* hidden = static_cast<const uint16_t*>(call.inputs[0].data);
  const auto* residual = static_cast<const uint16_t*>(call.inputs[1].data);
  const auto* weight = static_cast<const uint16_t*>(call.inputs[2].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * kHidden;
    add_and_normalise(hidden + at, residual + at, weight, output + at);
  }
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  // Waking a thread costs more than a few rows do: at least 64 KiB of input a task.
  constexpr int64_t kGrain = (64 * 1024 + 4 * kHidden - 1) / (4 * kHidden);
  call->parallel_for(call, call->inputs[0].shape[0], kGrain, rows, const_cast<FibCall*>(call));
  return 0;
}
