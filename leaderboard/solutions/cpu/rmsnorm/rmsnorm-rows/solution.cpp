// rmsnorm, sixteen lanes at a time.
// hidden_states [batch_size, hidden_size] bf16, weight [hidden_size] bf16 -> output like the input.
//
// Two passes over a row: the first sums squares into four accumulators, so that the additions don't
// wait for one another and rounding errors stay small; the second finds the row in L1. A row's bits
// don't depend on the other rows.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>

#include <cmath>

namespace {

using namespace fib;

constexpr int64_t kHidden = FIB_AXIS_hidden_size;

void normalise(const uint16_t* in, const uint16_t* weight, uint16_t* out) {
  constexpr int64_t kUnrolled = kHidden / (4 * kLanes) * (4 * kLanes);
  static_assert(kHidden % kLanes == 0, "rows are read sixteen elements at a time");
  Floats sums[4] = {};
  int64_t i = 0;
  for (; i < kUnrolled; i += 4 * kLanes) {
    for (int part = 0; part < 4; ++part) {
      const Floats x = load(in + i + part * kLanes);
      sums[part] = fma(x, x, sums[part]);
    }
  }
  for (; i < kHidden; i += kLanes) {
    const Floats x = load(in + i);
    sums[0] = fma(x, x, sums[0]);
  }
  const float mean = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3])) / kHidden;
  const float scale = 1.0f / std::sqrt(mean + static_cast<float>(FIB_PARAM_eps));
  for (i = 0; i < kHidden; i += kLanes) store(out + i, load(in + i) * scale * load(weight + i));
}

void rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* x = static_cast<const uint16_t*>(call.inputs[0].data);
  const auto* weight = static_cast<const uint16_t*>(call.inputs[1].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  for (int64_t row = begin; row < end; ++row)
    normalise(x + row * kHidden, weight, output + row * kHidden);
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  // Waking a thread costs more than a few rows do: at least 32 KiB of input a task.
  constexpr int64_t kGrain = (32 * 1024 + 2 * kHidden - 1) / (2 * kHidden);
  call->parallel_for(call, call->inputs[0].shape[0], kGrain, rows, const_cast<FibCall*>(call));
  return 0;
}
