#pragma once

// Rotary embedding of one head, shared by the lanes of a group: element i pairs with i + kDim / 2,
// and a lane holds kWidth neighbouring pairs.

#include <fib/device/reduce.h>
#include <fib/device/vector.h>

namespace fib {

template <int kDim>
struct RopeShape {
  enum : int {
    kHalf = kDim / 2,
    // The widest access, in values of 2 bytes, that divides half a head.
    kWidth = kHalf % 8 == 0 ? 8 : kHalf % 4 == 0 ? 4 : kHalf % 2 == 0 ? 2 : 1,
    kVectors = kHalf / kWidth,  // lanes that hold something
    // Lanes of a group: a power of two, for the shuffles.
    kLanes = kVectors > 16 ? 32 : kVectors > 8 ? 16 : kVectors > 4 ? 8 : kVectors > 2 ? 4 : kVectors,
  };
  static_assert(kDim % 2 == 0 && kVectors <= 32, "a head doesn't fit a warp");
};

// A lane's part of a head.
template <int kDim>
struct HeadPart {
  static constexpr int width() { return RopeShape<kDim>::kWidth; }
  static constexpr int half() { return RopeShape<kDim>::kHalf; }

  Pack<Bf16, RopeShape<kDim>::kWidth> low, high;

  // Elements at, at + 1 ... and kDim / 2 further on, of a head [kDim] bf16.
  __device__ __forceinline__ void load_from(const Bf16* head, int at) {
    low = load<Bf16, width()>(head + at);
    high = load<Bf16, width()>(head + half() + at);
  }
  __device__ __forceinline__ void store_to(Bf16* head, int at) const {
    store<Bf16, width()>(head + at, low);
    store<Bf16, width()>(head + half() + at, high);
  }

  __device__ __forceinline__ float sum_of_squares() const {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < width(); ++i) {
      sum += to_float(low.at[i]) * to_float(low.at[i]) + to_float(high.at[i]) * to_float(high.at[i]);
    }
    return sum;
  }

  // cos_sin [kDim] float32 of the head's position: cosines, then sines. Each element is scaled
  // before by `scale` and its own weight [kDim] bf16; without a weight it is not.
  template <bool kHasWeight>
  __device__ __forceinline__ void turn(const float* cos_sin, const Bf16* weight, float scale,
                                       int at) {
    const auto cosine = load<float, width()>(cos_sin + at);
    const auto sine = load<float, width()>(cos_sin + half() + at);
    HeadPart scales;
    if constexpr (kHasWeight) scales.load_from(weight, at);
#pragma unroll
    for (int i = 0; i < width(); ++i) {
      float x = to_float(low.at[i]), y = to_float(high.at[i]);
      if constexpr (kHasWeight) {
        x *= scale * to_float(scales.low.at[i]);
        y *= scale * to_float(scales.high.at[i]);
      }
      from_float(x * cosine.at[i] - y * sine.at[i], low.at[i]);
      from_float(y * cosine.at[i] + x * sine.at[i], high.at[i]);
    }
  }
};

}  // namespace fib
