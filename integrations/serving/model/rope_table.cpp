#include <cmath>
#include <numbers>

#include "integrations/serving/model/model_executor.h"

namespace fib {
namespace {

// Llama 3: long wavelengths are stretched by `factor`, short ones kept, those between blended.
double scale_frequency(const ModelConfig::RopeScaling& scaling, double frequency) {
  if (scaling.kind == "linear") return frequency / scaling.factor;
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const double longest = scaling.original_positions / scaling.low_frequency_factor;
  const double shortest = scaling.original_positions / scaling.high_frequency_factor;
  if (wavelength < shortest) return frequency;
  if (wavelength > longest) return frequency / scaling.factor;
  const double blend =
      (scaling.original_positions / wavelength - scaling.low_frequency_factor) /
      (scaling.high_frequency_factor - scaling.low_frequency_factor);
  return (1.0 - blend) * frequency / scaling.factor + blend * frequency;
}

}  // namespace

std::vector<float> rope_table(const ModelConfig& config, int max_positions) {
  const int half = config.head_dim / 2;
  std::vector<float> table(static_cast<size_t>(max_positions) *
                           static_cast<size_t>(config.head_dim));
  for (int i = 0; i < half; ++i) {
    double frequency = std::pow(config.rope_theta, -2.0 * i / config.head_dim);
    if (config.rope_scaling) frequency = scale_frequency(*config.rope_scaling, frequency);
    for (int position = 0; position < max_positions; ++position) {
      float* row = table.data() + static_cast<size_t>(position * config.head_dim);
      row[i] = static_cast<float>(std::cos(position * frequency));
      row[half + i] = static_cast<float>(std::sin(position * frequency));
    }
  }
  return table;
}

}  // namespace fib
