#pragma once

// The value generator, one source for host (C++20) and device (NVRTC): Philox-4x32-10 (Salmon et
// al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by seed, counted by element.
// Element i of stream s under seed k uses block (i / 2, s) and its half (i % 2): 64 random bits an
// element, independent of order, threads and device. Everything below is integer arithmetic plus
// one float multiply-add without contraction, so host and device agree to the bit.

#if defined(__CUDACC_RTC__)
#define FIB_HD __host__ __device__ __forceinline__
typedef unsigned int fib_u32;
typedef unsigned long long fib_u64;
#else
#define FIB_HD inline
#include <cstdint>
typedef std::uint32_t fib_u32;
typedef std::uint64_t fib_u64;
#endif

namespace fib {

struct PhiloxBlock {
  fib_u32 word[4];
};

FIB_HD PhiloxBlock philox_4x32_10(fib_u64 counter, fib_u64 stream, fib_u64 seed) {
  fib_u32 c0 = static_cast<fib_u32>(counter), c1 = static_cast<fib_u32>(counter >> 32);
  fib_u32 c2 = static_cast<fib_u32>(stream), c3 = static_cast<fib_u32>(stream >> 32);
  fib_u32 k0 = static_cast<fib_u32>(seed), k1 = static_cast<fib_u32>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const fib_u64 p0 = static_cast<fib_u64>(c0) * 0xD2511F53u;
    const fib_u64 p1 = static_cast<fib_u64>(c2) * 0xCD9E8D57u;
    const fib_u32 n0 = static_cast<fib_u32>(p1 >> 32) ^ c1 ^ k0;
    const fib_u32 n2 = static_cast<fib_u32>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<fib_u32>(p1);
    c3 = static_cast<fib_u32>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return PhiloxBlock{{c0, c1, c2, c3}};
}

// The 64 bits of one element.
FIB_HD fib_u64 philox_element_bits(fib_u64 index, fib_u64 stream, fib_u64 seed) {
  const PhiloxBlock block = philox_4x32_10(index >> 1, stream, seed);
  const int half = static_cast<int>(index & 1) * 2;
  return static_cast<fib_u64>(block.word[half]) | static_cast<fib_u64>(block.word[half + 1]) << 32;
}

// Near-normal with mean 0 and standard deviation 1: the centred sum of four 16-bit uniforms
// (Irwin-Hall, |x| <= 3.47). The sum is exact; one rounding in the multiply.
FIB_HD float normal_from_bits(fib_u64 bits) {
  const int sum = static_cast<int>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) +
                                   (bits >> 48)) -
                  131070;                           // mean of the sum: 4 * 65535 / 2
  return static_cast<float>(sum) * 2.6428862e-5f;   // 1 / sqrt(4 * (65536^2 - 1) / 12)
}

// Uniform in [0, 1) with 24 bits.
FIB_HD float uniform_from_bits(fib_u64 bits) {
  return static_cast<float>(static_cast<fib_u32>(bits) >> 8) * 5.9604644775390625e-8f;
}

// Uniform integer in [low, low + count), count >= 1.
FIB_HD long long uniform_int_from_bits(fib_u64 bits, long long low, fib_u64 count) {
  return low + static_cast<long long>(bits % count);
}

}  // namespace fib
