#pragma once

// The value generator, one source for host (C++20) and device (NVRTC): Philox-4x32-10 (Salmon et
// al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by seed, counted by element.
// Element i of stream s under seed k uses block (i / 2, s) and its half (i % 2): 64 random bits an
// element, independent of order, threads and device. Everything below is integer arithmetic plus
// one float multiply and one float add that must not be fused: the device says so with __fmul_rn
// and __fadd_rn, a host source that includes this is compiled with -ffp-contract=off. Host and
// device then agree to the bit.
//
// An element's stored bits are `value_bits(rule, philox_element_bits(index, stream, seed))`.

#if defined(__CUDACC_RTC__)
#define FIB_HD static __device__ __forceinline__
typedef unsigned int fib_u32;
typedef unsigned long long fib_u64;
#else
#define FIB_HD static inline
#include <cstdint>
#include <cstring>
typedef std::uint32_t fib_u32;
typedef std::uint64_t fib_u64;
#endif

namespace fib {

#if defined(__CUDACC_RTC__)
FIB_HD float multiply_rounded(float x, float y) { return __fmul_rn(x, y); }
FIB_HD float add_rounded(float x, float y) { return __fadd_rn(x, y); }
FIB_HD fib_u32 bits_of_float(float x) { return __float_as_uint(x); }
#else
FIB_HD float multiply_rounded(float x, float y) { return x * y; }
FIB_HD float add_rounded(float x, float y) { return x + y; }
FIB_HD fib_u32 bits_of_float(float x) {
  fib_u32 bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
#endif

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
FIB_HD float normal_from_words(fib_u32 low, fib_u32 high) {
  const int sum = static_cast<int>((low & 0xFFFF) + (low >> 16) + (high & 0xFFFF) + (high >> 16)) -
                  131070;  // mean of the sum: 4 * 65535 / 2
  // 1 / sqrt(4 * (65536^2 - 1) / 12)
  return multiply_rounded(static_cast<float>(sum), 2.6428862e-5f);
}
FIB_HD float normal_from_bits(fib_u64 bits) {
  return normal_from_words(static_cast<fib_u32>(bits), static_cast<fib_u32>(bits >> 32));
}

// Uniform in [0, 1) with 24 bits.
FIB_HD float uniform_from_bits(fib_u64 bits) {
  return multiply_rounded(static_cast<float>(static_cast<fib_u32>(bits) >> 8),
                          5.9604644775390625e-8f);  // 2^-24
}

// Uniform integer in [low, low + count), count >= 1.
FIB_HD long long uniform_int_from_bits(fib_u64 bits, long long low, fib_u64 count) {
  return low + static_cast<long long>(bits % count);
}

// How the 64 bits of an element become its stored bits. A plain struct: a kernel argument as it is.
enum ValueKind { kNormalValue = 0, kUniformValue = 1, kIntegerValue = 2, kBitsValue = 3 };
enum ValueFormat {  // of the stored element
  kStoreFloat32 = 0,
  kStoreFloat16 = 1,
  kStoreBFloat16 = 2,
  kStoreFloat8E4M3 = 3,
  kStoreFloat8E5M2 = 4,
  kStoreFloat4E2M1 = 5,  // the nibble; packing two a byte, low nibble first, is the caller's
  kStoreInteger = 6,     // the low `width` bits
};
struct ValueRule {
  int kind;     // ValueKind
  int format;   // ValueFormat
  int width;    // stored bits: 64, 32, 16, 8, 4; 1 for a bool (stored in a byte)
  float scale;  // kNormalValue, kUniformValue: value = draw * scale + offset ...
  float offset;
  float lowest;  // ... then clamped to [lowest, highest]
  float highest;
  long long first;  // kIntegerValue: first + bits % count
  fib_u64 count;
};

// Rounds to nearest, ties to even, into a sign-magnitude format; magnitudes beyond `largest` (a
// code without sign) become `largest`: the infinity of fp16, the largest finite of fp8 and fp4.
FIB_HD fib_u32 narrow_float_bits(fib_u32 bits, int exponent_bits, int mantissa_bits, int bias,
                                 fib_u32 largest) {
  const fib_u32 sign = bits >> 31 << (exponent_bits + mantissa_bits);
  const int exponent = static_cast<int>(bits >> 23 & 0xFF) - 127 + bias;
  // Normal: the exponent sits above the mantissa, so that a rounding carry walks into it.
  // Subnormal: the implicit one becomes explicit and shifts out with the rest.
  const fib_u32 significand = (bits & 0x7FFFFF) | 0x800000;
  const int shift = 23 - mantissa_bits + (exponent < 1 ? 1 - exponent : 0);
  const int drop = shift < 25 ? shift : 25;  // 25: below half of the smallest subnormal
  fib_u32 code = significand >> drop;
  const fib_u32 rest = significand & ((1u << drop) - 1), half = 1u << (drop - 1);
  code += rest > half || (rest == half && (code & 1) != 0) ? 1 : 0;
  code += exponent >= 1 ? static_cast<fib_u32>(exponent - 1) << mantissa_bits : 0;
  return sign | (code > largest ? largest : code);
}

FIB_HD fib_u32 bfloat16_bits(fib_u32 bits) {  // of a number, not NaN
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

FIB_HD fib_u64 float_storage_bits(float value, int format) {
  const fib_u32 bits = bits_of_float(value);
  switch (format) {
    case kStoreFloat16: return narrow_float_bits(bits, 5, 10, 15, 0x7C00);
    case kStoreBFloat16: return bfloat16_bits(bits);
    case kStoreFloat8E4M3: return narrow_float_bits(bits, 4, 3, 7, 0x7E);
    case kStoreFloat8E5M2: return narrow_float_bits(bits, 5, 2, 15, 0x7B);
    case kStoreFloat4E2M1: return narrow_float_bits(bits, 2, 1, 1, 0x7);
    default: return bits;
  }
}

FIB_HD float scale_draw(const ValueRule& rule, float draw) {
  const float value = add_rounded(multiply_rounded(draw, rule.scale), rule.offset);
  return value < rule.lowest ? rule.lowest : value > rule.highest ? rule.highest : value;
}

FIB_HD fib_u64 value_bits(const ValueRule& rule, fib_u64 bits) {
  fib_u64 stored = bits;
  if (rule.kind == kIntegerValue) {
    const long long value = uniform_int_from_bits(bits, rule.first, rule.count);
    stored = rule.format == kStoreInteger
                 ? static_cast<fib_u64>(value)
                 : float_storage_bits(static_cast<float>(value), rule.format);
  } else if (rule.kind != kBitsValue) {
    const float draw = rule.kind == kNormalValue ? normal_from_bits(bits) : uniform_from_bits(bits);
    stored = float_storage_bits(scale_draw(rule, draw), rule.format);
  }
  return rule.width == 64 ? stored : stored & ((1ull << rule.width) - 1);
}

}  // namespace fib
