#pragma once

// 8-bit floats (OCP e4m3, e5m2, the scales e8m0) and 4-bit ones (e2m1). Everything is exact in
// fp16, which tensor cores take; conversions are PTX ISA's cvt, sm_89 and later.

#include <fib/device/convert.h>

namespace fib {

struct E4m3 {
  unsigned char bits;
};
struct E5m2 {
  unsigned char bits;
};

// The four values of a word as fp16, in order: pairs[j] holds 2j (lower half) and 2j + 1.
__device__ __forceinline__ void unpack_e4m3(u32 word, u32 (&pairs)[2]) {
  asm("{\n.reg .b16 low, high;\n"
      "mov.b32 {low, high}, %2;\n"
      "cvt.rn.f16x2.e4m3x2 %0, low;\n"
      "cvt.rn.f16x2.e4m3x2 %1, high;\n}"
      : "=r"(pairs[0]), "=r"(pairs[1])
      : "r"(word));
}
__device__ __forceinline__ void unpack_e5m2(u32 word, u32 (&pairs)[2]) {
  asm("{\n.reg .b16 low, high;\n"
      "mov.b32 {low, high}, %2;\n"
      "cvt.rn.f16x2.e5m2x2 %0, low;\n"
      "cvt.rn.f16x2.e5m2x2 %1, high;\n}"
      : "=r"(pairs[0]), "=r"(pairs[1])
      : "r"(word));
}

__device__ __forceinline__ float to_float(E4m3 x) {
  u32 pairs[2];
  unpack_e4m3(x.bits, pairs);
  return to_float(Fp16{static_cast<u16>(pairs[0])});
}
__device__ __forceinline__ float to_float(E5m2 x) {
  u32 pairs[2];
  unpack_e5m2(x.bits, pairs);
  return to_float(Fp16{static_cast<u16>(pairs[0])});
}

// To nearest even; what is too large becomes the largest finite value, NaN stays NaN.
__device__ __forceinline__ u16 pack_e4m3(float low, float high) {
  u16 pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ u16 pack_e5m2(float low, float high) {
  u16 pair;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ void from_float(float value, E4m3& result) {
  result.bits = static_cast<unsigned char>(pack_e4m3(value, 0.0f));
}
__device__ __forceinline__ void from_float(float value, E5m2& result) {
  result.bits = static_cast<unsigned char>(pack_e5m2(value, 0.0f));
}

// A scale of the MX formats: 2^(bits - 127), NaN for 255.
__device__ __forceinline__ float e8m0_to_float(unsigned char bits) {
  return __uint_as_float(bits == 0     ? 0x00400000u
                         : bits == 255 ? 0x7FFFFFFFu
                                       : static_cast<u32>(bits) << 23);
}

// The eight e2m1 values of a word, lowest nibble first, as fp16: pairs[j] holds 2j (lower half) and
// 2j + 1. Exponent and mantissa put into fp16's places read 2^14 times too small.
__device__ __forceinline__ void unpack_e2m1(u32 word, u32 (&pairs)[4]) {
  const u32 odd = word >> 4;
#pragma unroll
  for (u32 j = 0; j < 4; ++j) {
    const u32 nibbles = __byte_perm(word, odd, j | (4 + j) << 8);
    const u32 small = (nibbles & 0x00080008u) << 12 | (nibbles & 0x00070007u) << 9;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pairs[j]) : "r"(small), "r"(0x74007400u));
  }
}

}  // namespace fib
