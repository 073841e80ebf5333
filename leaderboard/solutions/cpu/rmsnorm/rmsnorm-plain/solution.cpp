// rmsnorm, plainly: output = x * weight / sqrt(mean(x^2) + eps), row by row.
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
  if (value != value) return 0x7FC0;
  return static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

void rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* x = static_cast<const uint16_t*>(call.inputs[0].data);
  const auto* weight = static_cast<const uint16_t*>(call.inputs[1].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  for (int64_t row = begin; row < end; ++row) {
    const uint16_t* in = x + row * kHidden;
    uint16_t* out = output + row * kHidden;
    float sum = 0.0f;
    for (int64_t i = 0; i < kHidden; ++i) sum += widen(in[i]) * widen(in[i]);
    const float scale = 1.0f / std::sqrt(sum / kHidden + static_cast<float>(FIB_PARAM_eps));
    for (int64_t i = 0; i < kHidden; ++i) out[i] = narrow(widen(in[i]) * scale * widen(weight[i]));
  }
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  call->parallel_for(call, call->inputs[0].shape[0], 1, rows, const_cast<FibCall*>(call));
  return 0;
}
