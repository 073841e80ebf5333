#pragma once

// Values of C: bf16 or float32, by kOutputBytes.

#include <fib/device/convert.h>

#include "shape.h"

template <int kBytes>
struct OutputOf;
template <>
struct OutputOf<2> {
  using Type = fib::Bf16;
};
template <>
struct OutputOf<4> {
  using Type = float;
};
using Output = OutputOf<kOutputBytes>::Type;

__device__ __forceinline__ void store_value(float* to, float value) { *to = value; }
__device__ __forceinline__ void store_value(fib::Bf16* to, float value) { from_float(value, *to); }
__device__ __forceinline__ void store_four(float* to, float4 values) {
  *reinterpret_cast<float4*>(to) = values;
}
__device__ __forceinline__ void store_four(fib::Bf16* to, float4 values) {
  uint2 packed;
  packed.x = fib::pack_bf16(values.x, values.y);
  packed.y = fib::pack_bf16(values.z, values.w);
  *reinterpret_cast<uint2*>(to) = packed;
}

// c [rows, kN]: four neighbouring columns from `column`, a multiple of 4, on; those beyond kN
// don't exist.
__device__ __forceinline__ void store_quad(Output* c, int row, int column, float4 values) {
  Output* const to = c + static_cast<size_t>(row) * kN + column;
  if constexpr (kN % 4 == 0) {
    if (column < kN) store_four(to, values);
  } else {
    const float each[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < kN) store_value(to + i, each[i]);
    }
  }
}
