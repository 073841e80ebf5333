#pragma once

// Sixteen-lane vectors for `cpu` solutions: bfloat16 in and out, sums, powers. Written with GCC's
// and Clang's vector extension, which lowers them to whatever -march=native has (one 512-bit
// register, two of 256 bits, four of 128); intrinsics stand only where the compiler needs help.
//
// Every function does the same operations in the same order for each lane and each call, with fused
// multiply-adds where written as fma(): a row's result doesn't depend on the code around it.

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define FIB_INLINE inline __attribute__((always_inline))
#pragma GCC diagnostic ignored "-Wpsabi"  // everything is inlined: no vector crosses a call

namespace fib {

inline constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
typedef float Quad __attribute__((vector_size(16)));

FIB_INLINE Floats splat(float value) { return value - Floats{}; }  // x + 0 is not -0 for -0

// a * b + c with one rounding, where the machine can; never left to the compiler's contraction,
// which may differ between two copies of one loop.
FIB_INLINE float fma(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
FIB_INLINE Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  union Halved {
    Floats all;
    __m256 half[2];
  };
  const Halved x{a}, y{b}, z{c};
  Halved sum;
  sum.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
  sum.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
  return sum.all;
#else
  return a * b + c;
#endif
}

// ---- fp32 and bfloat16 in memory; no alignment is needed.

FIB_INLINE Floats load(const float* values) {
  Floats out;
  memcpy(&out, values, sizeof out);
  return out;
}
FIB_INLINE void store(float* out, Floats values) { memcpy(out, &values, sizeof values); }

FIB_INLINE float widen(uint16_t bf16) {
  const uint32_t word = (uint32_t)bf16 << 16;
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}
FIB_INLINE uint16_t narrow(float value) {  // to nearest, ties to even
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  if (value != value) return 0x7FC0;
  return (uint16_t)((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

FIB_INLINE Floats widen(Halves bf16) {
  return (Floats)(__builtin_convertvector(bf16, Words) << 16);
}
FIB_INLINE Halves narrow(Floats values) {  // as the scalar one, lane by lane
  const Words words = (Words)values;
  const Words rounded = (words + 0x7FFF + (words >> 16 & 1)) >> 16;
  return __builtin_convertvector(values != values ? Words{} + 0x7FC0 : rounded, Halves);
}

FIB_INLINE Floats load(const uint16_t* bf16) {
  Halves halves;
  memcpy(&halves, bf16, sizeof halves);
  return widen(halves);
}
FIB_INLINE void store(uint16_t* bf16, Floats values) {
  const Halves halves = narrow(values);
  memcpy(bf16, &halves, sizeof halves);
}

// ---- 32 bfloat16 as sixteen pairs, element 2i in the low half of lane i.

FIB_INLINE Words load_pairs(const uint16_t* bf16) {
  Words pairs;
  memcpy(&pairs, bf16, sizeof pairs);
  return pairs;
}
FIB_INLINE Floats low_of(Words pairs) { return (Floats)(pairs << 16); }
FIB_INLINE Floats high_of(Words pairs) { return (Floats)(pairs & 0xFFFF0000u); }

// sum[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1] in fp32. AVX512-BF16's instruction takes
// subnormals as zero.
FIB_INLINE Floats dot_pairs(Floats sum, Words a, Words b) {
#if defined(__AVX512BF16__)
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  return fma(low_of(a), low_of(b), fma(high_of(a), high_of(b), sum));
#endif
}

// ---- Across lanes. The order of additions is that of sum_of, always.

// Lane i: the sum of the i-th argument's lanes.
FIB_INLINE Quad sums_of(Floats a, Floats b, Floats c, Floats d) {
  // In each quarter: a0+a2 b0+b2 a1+a3 b1+b3, then the same of c and d, then a b c d.
  const Floats ab =
      __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
      __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const Floats cd =
      __builtin_shufflevector(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
      __builtin_shufflevector(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const Floats all =
      __builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
      __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  return (__builtin_shufflevector(all, all, 0, 1, 2, 3) +
          __builtin_shufflevector(all, all, 8, 9, 10, 11)) +
         (__builtin_shufflevector(all, all, 4, 5, 6, 7) +
          __builtin_shufflevector(all, all, 12, 13, 14, 15));
}
FIB_INLINE float sum_of(Floats values) {
  return sums_of(values, Floats{}, Floats{}, Floats{})[0];
}
FIB_INLINE float max_of(Floats values) {
  Floats m = values;
  Floats other =
      __builtin_shufflevector(m, m, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  m = m > other ? m : other;
  other = __builtin_shufflevector(m, m, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
  m = m > other ? m : other;
  other = __builtin_shufflevector(m, m, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  m = m > other ? m : other;
  return m[0] > m[1] ? m[0] : m[1];
}

// ---- Powers.

// 2^x to 2^-22 of the value; 0 below 2^-126, infinite from 2^127.5 on. NaN stays NaN.
FIB_INLINE Floats exp2_of(Floats x) {
  const Floats above = x < -126.0f ? splat(-126.0f) : x;
  const Floats clamped = above > 128.0f ? splat(128.0f) : above;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the significand.
  const Floats shifted = clamped + 0x1.8p23f;
  const Ints whole = (Ints)shifted - 0x4B400000;
  const Floats y = (clamped - (shifted - 0x1.8p23f)) * 0.693147181f;
  // The Taylor polynomial of e^y on |y| <= ln(2) / 2.
  Floats p = fma(y, splat(1.0f / 720), splat(1.0f / 120));
  p = fma(p, y, splat(1.0f / 24));
  p = fma(p, y, splat(1.0f / 6));
  p = fma(p, y, splat(0.5f));
  p = fma(p, y, splat(1.0f));
  p = fma(p, y, splat(1.0f));
  const Floats power = (Floats)((whole + 127) << 23);
  return x < -126.0f ? Floats{} : p * power;
}

// e^x; the relative error grows with |x|, to 2^-18 at 88.
FIB_INLINE Floats exp_of(Floats x) { return exp2_of(x * 1.44269504f); }

// x / (1 + e^-x).
FIB_INLINE Floats silu(Floats x) { return x / (1.0f + exp_of(-x)); }

}  // namespace fib
