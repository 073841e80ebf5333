#pragma once

// Rotary embedding of one head [2 * kHalf] bf16, shared by lanes: element i pairs with i + kHalf,
// and a lane holds kWidth neighbouring pairs.

#include <fib/device/vector.h>

namespace fib {

// A lane's part of a head: elements at, at + 1 ... and the same kHalf further on.
template <int kHalf, int kWidth>
struct HeadPart {
  Pack<Bf16, kWidth> low, high;

  __device__ __forceinline__ void load_from(const Bf16* head, int at) {
    low = load<Bf16, kWidth>(head + at);
    high = load<Bf16, kWidth>(head + kHalf + at);
  }
  __device__ __forceinline__ void store_to(Bf16* head, int at) const {
    store<Bf16, kWidth>(head + at, low);
    store<Bf16, kWidth>(head + kHalf + at, high);
  }

  __device__ __forceinline__ float sum_of_squares() const {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float x = to_float(low.at[i]), y = to_float(high.at[i]);
      sum += x * x + y * y;
    }
    return sum;
  }

  // cos_sin [2 * kHalf] float32 of the head's position: cosines, then sines.
  __device__ __forceinline__ void turn(const float* cos_sin, int at) {
    const Pack<float, kWidth> unit = splat(1.0f);
    turn_scaled(cos_sin, unit, unit, at);
  }
  // Each element is multiplied before by `scale` and by its own weight [2 * kHalf] bf16.
  __device__ __forceinline__ void turn(const float* cos_sin, const Bf16* weight, float scale,
                                       int at) {
    HeadPart weights;
    weights.load_from(weight, at);
    Pack<float, kWidth> of_low, of_high;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      of_low.at[i] = scale * to_float(weights.low.at[i]);
      of_high.at[i] = scale * to_float(weights.high.at[i]);
    }
    turn_scaled(cos_sin, of_low, of_high, at);
  }

 private:
  __device__ __forceinline__ static Pack<float, kWidth> splat(float value) {
    Pack<float, kWidth> pack;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) pack.at[i] = value;
    return pack;
  }

  __device__ __forceinline__ void turn_scaled(const float* cos_sin,
                                              const Pack<float, kWidth>& of_low,
                                              const Pack<float, kWidth>& of_high, int at) {
    const auto cosine = load<float, kWidth>(cos_sin + at);
    const auto sine = load<float, kWidth>(cos_sin + kHalf + at);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float x = to_float(low.at[i]) * of_low.at[i];
      const float y = to_float(high.at[i]) * of_high.at[i];
      from_float(x * cosine.at[i] - y * sine.at[i], low.at[i]);
      from_float(y * cosine.at[i] + x * sine.at[i], high.at[i]);
    }
  }
};

}  // namespace fib
