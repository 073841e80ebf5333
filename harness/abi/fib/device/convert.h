#pragma once

// Number types of device code as plain bits, without the toolkit's headers: kernels that include
// only <fib/device/...> compile in a fraction of the time.

namespace fib {

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

struct Bf16 {
  u16 bits;
};
struct Fp16 {
  u16 bits;
};

__device__ __forceinline__ float to_float(Bf16 x) {
  return __uint_as_float(static_cast<u32>(x.bits) << 16);
}
__device__ __forceinline__ float to_float(Fp16 x) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
}

// Rounds to nearest even; NaN stays NaN.
__device__ __forceinline__ void from_float(float value, Bf16& result) {
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
}
__device__ __forceinline__ void from_float(float value, Fp16& result) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
}

// Two values in one register, `low` in the lower half.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ u32 pack_fp16(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ float bf16_low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16_high(u32 pair) { return __uint_as_float(pair & 0xFFFF0000u); }

}  // namespace fib
