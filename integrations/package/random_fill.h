#pragma once

// What ServingDevice::fill_random writes: the same bytes on every target.

#include "workloads/generator.h"

namespace fib {

struct RandomFill {
  Generated generated;
  DType dtype = DType::kInt8;
  int64_t count = 0;  // elements
};

// Uniform bfloat16 in [-scale, scale), or random bits where `scale` is 0.
inline Result<RandomFill> random_fill(size_t bytes, float scale, uint64_t seed) {
  using Kind = Distribution::Kind;
  const auto filled = [&](Distribution distribution, DType dtype) {
    return RandomFill{.generated = {.seed = seed, .distribution = distribution},
                      .dtype = dtype,
                      .count = static_cast<int64_t>(bytes * 8) / bits_of(dtype)};
  };
  if (scale == 0.0f) return filled({Kind::kBits}, bytes % 8 == 0 ? DType::kInt64 : DType::kInt8);
  if (bytes % 2 != 0) {
    return fail(ErrorCode::kInvalidInput,
                std::to_string(bytes) + " bytes are no whole number of bfloat16 values",
                "fill_random");
  }
  return filled({Kind::kUniform, -scale, scale}, DType::kBFloat16);
}

}  // namespace fib
