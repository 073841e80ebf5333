// rmsnorm with everything that a solution can ask for: prepared is weight [hidden_size] as float32,
// workspace one float32 a row, the row's scale.
// hidden_states [batch_size, hidden_size] bf16, weight [hidden_size] bf16 -> output like the input.

#include <fib/cpu.h>

#include <cmath>
#include <cstring>

namespace {

constexpr int64_t kHidden = FIB_AXIS_hidden_size;

float widen(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

uint16_t narrow(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  return static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

}  // namespace

extern "C" size_t fib_prepared_bytes(const FibCall*) { return kHidden * sizeof(float); }

extern "C" int fib_prepare(const FibCall* call) {
  const auto* weight = static_cast<const uint16_t*>(call->inputs[1].data);
  auto* wide = static_cast<float*>(call->prepared);
  for (int64_t i = 0; i < kHidden; ++i) wide[i] = widen(weight[i]);
  return 0;
}

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return static_cast<size_t>(call->inputs[0].shape[0]) * sizeof(float);
}

extern "C" int fib_run(const FibCall* call) {
  const auto* x = static_cast<const uint16_t*>(call->inputs[0].data);
  const auto* wide = static_cast<const float*>(call->prepared);
  auto* output = static_cast<uint16_t*>(call->outputs[0].data);
  auto* scales = static_cast<float*>(call->workspace);
  const int64_t rows = call->inputs[0].shape[0];
  for (int64_t row = 0; row < rows; ++row) {
    float sum = 0.0f;
    for (int64_t i = 0; i < kHidden; ++i) {
      sum += widen(x[row * kHidden + i]) * widen(x[row * kHidden + i]);
    }
    scales[row] = 1.0f / std::sqrt(sum / kHidden + static_cast<float>(FIB_PARAM_eps));
  }
  for (int64_t i = 0; i < rows * kHidden; ++i) {
    output[i] = narrow(widen(x[i]) * scales[i / kHidden] * wide[i % kHidden]);
  }
  return 0;
}
