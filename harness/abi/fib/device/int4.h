#pragma once

// Packed 4-bit integers as compressed-tensors stores them: value q in [-8, 7] as q + 8, eight to a
// word, the lowest nibble first.

#include <fib/device/convert.h>

namespace fib {

// The eight values of a word as bf16, in order: pairs[j] holds 2j (lower half) and 2j + 1. Exact.
// A nibble n put into the mantissa of 128.0 reads 128 + n, and 136 less is q.
__device__ __forceinline__ void unpack_int4(u32 word, u32 (&pairs)[4]) {
  const u32 odd = word >> 4;
#pragma unroll
  for (u32 j = 0; j < 4; ++j) {
    const u32 nibbles = __byte_perm(word, odd, j | (4 + j) << 8);
    const u32 biased = (nibbles & 0x000F000Fu) | 0x43004300u;
    asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(pairs[j]) : "r"(biased), "r"(0x43084308u));
  }
}

// The same with values apart by four: pairs[j] holds j (lower half) and j + 4. Fewer instructions,
// for those to whom the order along a row does not matter.
__device__ __forceinline__ void unpack_int4_halves(u32 word, u32 (&pairs)[4]) {
#pragma unroll
  for (u32 j = 0; j < 4; ++j) {
    const u32 biased = (word >> 4 * j & 0x000F000Fu) | 0x43004300u;
    asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(pairs[j]) : "r"(biased), "r"(0x43084308u));
  }
}

}  // namespace fib
