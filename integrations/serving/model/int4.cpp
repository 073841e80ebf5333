#include "integrations/serving/model/int4.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "integrations/serving/model/quantization_config.h"
#include "signatures/base/dtype.h"

namespace fib {
namespace {

constexpr size_t kGroup = kInt4GroupSize;
constexpr float kLowest = -8, kHighest = 7;
// Where all weights are zero any scale would do, but for zero.
constexpr float kSmallestScale = 1e-8f;
// Largest magnitude / scale. 8 and 7 are the ends of the range; beyond them the largest weight is
// cut off and the others are finer.
constexpr float kTrainedDivisor = 7.5f;
constexpr std::array kEnds = {8.0f, 7.0f};
constexpr std::array kOthers = {7.25f, 7.75f, 8.5f, 9.0f};

using Group = std::array<float, kGroup>;

// Ties to even, for magnitudes below 2^22; unlike nearbyint this is vectorised on every processor.
float round_even(float value) {
  constexpr float kShift = 0x1.8p23f;
  return (value + kShift) - kShift;
}

float level(float weight, float scale) {
  return std::clamp(round_even(weight / scale), kLowest, kHighest);
}

float squared_error(const Group& group, float scale) {
  float sum = 0;
  for (const float weight : group) {
    const float error = level(weight, scale) * scale - weight;
    sum += error * error;
  }
  return sum;
}

uint16_t scale_for(float largest, float divisor) {
  return float_to_bf16(std::max(largest / divisor, kSmallestScale));
}

// What was INT4 before reaches an end of its range, and is found again: by the scale next to the
// candidate at the latest, since bfloat16 rounded the largest weight.
uint16_t least_error_scale(const Group& group, float largest) {
  uint16_t best = scale_for(largest, kTrainedDivisor);
  float least = squared_error(group, bf16_to_float(best));
  const auto consider = [&](int scale) {
    const float error = squared_error(group, bf16_to_float(static_cast<uint16_t>(scale)));
    if (error >= least) return;
    least = error;
    best = static_cast<uint16_t>(scale);
  };
  for (const float divisor : kOthers) consider(scale_for(largest, divisor));
  for (const float divisor : kEnds)
    for (const int step : {-1, 0, 1}) consider(scale_for(largest, divisor) + step);
  return best;
}

}  // namespace

Result<Int4Matrix> quantize_int4(std::span<const uint16_t> weights, int64_t columns,
                                 ScaleRule rule) {
  Int4Matrix matrix;
  matrix.words.reserve(weights.size() / kInt4PerWord);
  matrix.scales.reserve(weights.size() / kGroup);
  for (size_t start = 0; start < weights.size(); start += kGroup) {
    Group group;
    float largest = 0;
    for (size_t i = 0; i < kGroup; ++i) {
      group[i] = bf16_to_float(weights[start + i]);
      // A quarter of the range is left, so that no candidate overflows.
      if (!(std::abs(group[i]) < std::numeric_limits<float>::max() / 4))
        return fail(ErrorCode::kInvalidInput,
                    fmt::format("weight [{}, {}] is {}", (start + i) / columns,
                                (start + i) % columns, group[i]));
      largest = std::max(largest, std::abs(group[i]));
    }

    const uint16_t scale_bits = rule == ScaleRule::kMaxAbs ? scale_for(largest, kTrainedDivisor)
                                                           : least_error_scale(group, largest);
    const float scale = bf16_to_float(scale_bits);
    matrix.scales.push_back(scale_bits);
    for (size_t word = 0; word < kGroup; word += kInt4PerWord) {
      std::array<int8_t, kInt4PerWord> levels;
      for (size_t i = 0; i < kInt4PerWord; ++i) {
        const float weight = group[word + i];
        const float q = level(weight, scale);
        const double error = static_cast<double>(q) * scale - weight;
        matrix.squared_error += error * error;
        matrix.squared_sum += static_cast<double>(weight) * weight;
        levels[i] = static_cast<int8_t>(q);
      }
      matrix.words.push_back(pack_int4(levels));
    }
  }
  return matrix;
}

}  // namespace fib
