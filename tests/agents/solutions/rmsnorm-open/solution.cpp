// rmsnorm, deliberately plain: output = x * weight / sqrt(mean(x^2) + eps), row after row.
// hidden_states [batch_size, hidden_size] bf16, weight [hidden_size] bf16 -> output like the input.
//
// A design space for `fib agent run`: blocks can be exchanged for those under variations/, macros
// set to what solution.json lists. The initial choices are the slow ones.

#include <fib/cpu.h>

#include <cmath>
#include <cstring>

#ifndef LANES
#define LANES 4
#endif
#ifndef SUMS
#define SUMS 1
#endif
#ifndef ROWS
#define ROWS 1
#endif

namespace {

constexpr int64_t kHidden = FIB_AXIS_hidden_size;

inline float widen(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

inline uint16_t narrow(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  if (value != value) return 0x7FC0;
  return static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

// The same for vectors, in GCC's and Clang's vector extension.
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

inline Floats load(const uint16_t* bf16) {
  Halves halves;
  std::memcpy(&halves, bf16, sizeof halves);
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

inline void store(uint16_t* bf16, Floats values) {
  const Words words = reinterpret_cast<Words>(values);
  const Words rounded = (words + 0x7FFF + (words >> 16 & 1)) >> 16;
  const Halves halves =
      __builtin_convertvector(values != values ? Words{} + 0x7FC0 : rounded, Halves);
  std::memcpy(bf16, &halves, sizeof halves);
}

// in [kHidden] bf16
float sum_of_squares(const uint16_t* in) {
  // fib:block squares
  float sum = 0.0f, lost = 0.0f;  // compensated: what an addition rounds away goes into the next
  for (int64_t i = 0; i < kHidden; ++i) {
    const float term = widen(in[i]) * widen(in[i]) - lost;
    const float next = sum + term;
    lost = (next - sum) - term;
    sum = next;
  }
  return sum;
  // fib:end squares
}

// in, weight, out [kHidden] bf16
void write_scaled(const uint16_t* in, const uint16_t* weight, float scale, uint16_t* out) {
  // fib:block output
  for (int64_t i = 0; i < kHidden; ++i) out[i] = narrow(widen(in[i]) * scale * widen(weight[i]));
  // fib:end output
}

void normalise(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* x = static_cast<const uint16_t*>(call.inputs[0].data);
  const auto* weight = static_cast<const uint16_t*>(call.inputs[1].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  for (int64_t row = begin; row < end; ++row) {
    const uint16_t* in = x + row * kHidden;
    const float mean = sum_of_squares(in) / kHidden;
    const float scale = 1.0f / std::sqrt(mean + static_cast<float>(FIB_PARAM_eps));
    write_scaled(in, weight, scale, output + row * kHidden);
  }
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  const int64_t rows = call->inputs[0].shape[0];
  // fib:block tasks
  normalise(0, rows, const_cast<FibCall*>(call));
  // fib:end tasks
  return 0;
}
