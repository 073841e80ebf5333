// The harness's own kernels: fill, guards, digests, L2 flush, comparison. Compiled at run time by
// NVRTC for the card that is there. Plain CUDA without CUDA's headers, so that a machine with
// nothing but the driver and libnvrtc can run it.

#include "harness_abi.h"

namespace fib {
namespace {

__device__ fib_u64 thread_index() {
  return static_cast<fib_u64>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ fib_u64 thread_count() { return static_cast<fib_u64>(gridDim.x) * blockDim.x; }

// Not inlined: it holds every format, and a copy a width takes NVRTC seconds.
__device__ __noinline__ fib_u64 stored_bits(const ValueRule& rule, fib_u64 bits) {
  return value_bits(rule, bits);
}

// Elements [first, first + 128 / width) as one 16-byte vector; `first` is even for widths
// below 64, so that every Philox block is drawn once.
template <int kWidth>
__device__ ulonglong2 generate_vector(const FillArguments& fill, fib_u64 first) {
  constexpr int kPairs = 64 / kWidth;  // Philox blocks a vector
  ulonglong2 vector = make_ulonglong2(0, 0);
#pragma unroll 1
  for (int pair = 0; pair < kPairs; ++pair) {
    const PhiloxBlock block = philox_4x32_10((first >> 1) + pair, fill.stream, fill.seed);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const fib_u64 bits = static_cast<fib_u64>(block.word[2 * e]) |
                           static_cast<fib_u64>(block.word[2 * e + 1]) << 32;
      const int at = (2 * pair + e) * kWidth;  // bit position in the vector
      const fib_u64 stored = stored_bits(fill.rule, bits) << (at % 64);
      (at < 64 ? vector.x : vector.y) |= stored;
    }
  }
  return vector;
}

template <int kWidth>
__device__ void fill_storage(const FillArguments& fill) {
  constexpr fib_u64 kElements = 128 / kWidth;
  const fib_u64 vectors = fill.count / kElements;
  ulonglong2* out = reinterpret_cast<ulonglong2*>(fill.out);
  for (fib_u64 v = thread_index(); v < vectors; v += thread_count()) {
    out[v] = generate_vector<kWidth>(fill, v * kElements);
  }
  if (thread_index() == 0 && vectors * kElements < fill.count) {
    const ulonglong2 last = generate_vector<kWidth>(fill, vectors * kElements);
    const fib_u64 rest = fill.count - vectors * kElements;
    unsigned char* bytes = reinterpret_cast<unsigned char*>(out + vectors);
    for (fib_u64 b = 0; b < (rest * kWidth + 7) / 8; ++b) {
      unsigned char byte = static_cast<unsigned char>((b < 8 ? last.x : last.y) >> (b % 8 * 8));
      // The unused high nibble of an odd count of 4-bit elements stays zero.
      if (kWidth == 4 && rest % 2 == 1 && b == rest / 2) byte &= 0xF;
      bytes[b] = byte;
    }
  }
}

__device__ fib_u64 mix(fib_u64 x) {  // a bijection that spreads every bit (splitmix64's finaliser)
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ x >> 27) * 0x94D049BB133111EBull;
  return x ^ x >> 31;
}

__device__ unsigned char guard_byte(fib_u64 address, fib_u64 seed) {
  return static_cast<unsigned char>(mix(address / 8 + seed) >> (address % 8 * 8));
}

__device__ float half_to_float(fib_u32 h) {
  const fib_u32 sign = (h & 0x8000) << 16, exponent = h >> 10 & 0x1F, mantissa = h & 0x3FF;
  if (exponent == 31) return __uint_as_float(sign | 0x7F800000 | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -magnitude : magnitude;
  }
  return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

__device__ float small_float(fib_u32 code, int exponent_bits, int mantissa_bits, int bias) {
  const fib_u32 mantissa = code & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const float significand = static_cast<float>(mantissa) / static_cast<float>(1 << mantissa_bits);
  const float magnitude = exponent == 0 ? ldexpf(significand, 1 - bias)
                                        : ldexpf(1.0f + significand, exponent - bias);
  return code >> (exponent_bits + mantissa_bits) & 1 ? -magnitude : magnitude;
}

__device__ float load_element(fib_u64 address, int format, fib_u64 i) {
  const void* data = reinterpret_cast<const void*>(address);
  switch (format) {
    case kElementFloat32: return static_cast<const float*>(data)[i];
    case kElementFloat16: return half_to_float(static_cast<const unsigned short*>(data)[i]);
    case kElementBFloat16:
      return __uint_as_float(static_cast<fib_u32>(static_cast<const unsigned short*>(data)[i])
                             << 16);
    case kElementFloat8E4M3: {
      const fib_u32 code = static_cast<const unsigned char*>(data)[i];
      return (code & 0x7F) == 0x7F ? __uint_as_float(0x7FC00000) : small_float(code, 4, 3, 7);
    }
    case kElementFloat8E5M2:  // the upper byte of a half
      return half_to_float(static_cast<fib_u32>(static_cast<const unsigned char*>(data)[i]) << 8);
    case kElementFloat4E2M1:
      return small_float(static_cast<const unsigned char*>(data)[i / 2] >> (i % 2 * 4) & 0xF, 2, 1,
                         1);
    case kElementInt64: return static_cast<float>(static_cast<const long long*>(data)[i]);
    case kElementInt32: return static_cast<float>(static_cast<const int*>(data)[i]);
    case kElementInt16: return static_cast<float>(static_cast<const short*>(data)[i]);
    case kElementInt8: return static_cast<float>(static_cast<const signed char*>(data)[i]);
    default: return static_cast<const unsigned char*>(data)[i] != 0 ? 1.0f : 0.0f;
  }
}

// Sums over the block into thread 0; every thread of the block calls it.
template <class T>
__device__ T block_sum(T value) {
  __shared__ T partial[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xFFFFFFFF, value, offset);
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T total = 0;
  if (threadIdx.x == 0) {
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += partial[warp];
  }
  return total;
}

__device__ void raise_max(fib_u64* where, double value) {
  const fib_u64 bits = static_cast<fib_u64>(__double_as_longlong(value));
  if (bits > *where) atomicMax(where, bits);  // the read only spares atomics
}

}  // namespace

extern "C" __global__ void fib_fill(const __grid_constant__ FillArguments fill) {
  switch (fill.rule.width) {
    case 64: return fill_storage<64>(fill);
    case 32: return fill_storage<32>(fill);
    case 16: return fill_storage<16>(fill);
    case 4: return fill_storage<4>(fill);
    default: return fill_storage<8>(fill);  // int8, fp8, and bools of one bit in a byte
  }
}

// One block a guard.
extern "C" __global__ void fib_guard_write(const __grid_constant__ GuardList guards) {
  const fib_u64 base = guards.address[blockIdx.x];
  for (fib_u32 i = threadIdx.x; i < guards.bytes[blockIdx.x]; i += blockDim.x) {
    reinterpret_cast<unsigned char*>(base)[i] = guard_byte(base + i, guards.seed);
  }
}

extern "C" __global__ void fib_guard_check(const __grid_constant__ GuardList guards,
                                           CallReport* report) {
  const fib_u64 base = guards.address[blockIdx.x];
  for (fib_u32 i = threadIdx.x; i < guards.bytes[blockIdx.x]; i += blockDim.x) {
    if (reinterpret_cast<const unsigned char*>(base)[i] != guard_byte(base + i, guards.seed)) {
      atomicMax(&report->bad_guard, static_cast<fib_u64>(blockIdx.x) + 1);
      return;
    }
  }
}

// A 128-bit digest that does not depend on the order of additions.
extern "C" __global__ void fib_digest(const __grid_constant__ DigestArguments digest) {
  const fib_u64 vectors = digest.bytes / 16;
  const ulonglong2* data = reinterpret_cast<const ulonglong2*>(digest.address);
  fib_u64 low = 0, high = 0;
  const auto absorb = [&](ulonglong2 v, fib_u64 index) {
    const fib_u64 x = mix(v.x + digest.salt + index * 0x9E3779B97F4A7C15ull);
    const fib_u64 y = mix(v.y ^ (x + digest.salt * 0xD6E8FEB86659FD93ull));
    low += x ^ (y << 32 | y >> 32);
    high += mix(x + y * 0xA0761D6478BD642Full);
  };
  for (fib_u64 i = thread_index(); i < vectors; i += thread_count()) absorb(data[i], i);
  if (thread_index() == 0 && digest.bytes % 16 != 0) {
    ulonglong2 last = make_ulonglong2(0, 0);
    const unsigned char* tail = reinterpret_cast<const unsigned char*>(data + vectors);
    for (fib_u64 b = 0; b < digest.bytes % 16; ++b) {
      (b < 8 ? last.x : last.y) |= static_cast<fib_u64>(tail[b]) << (b % 8 * 8);
    }
    absorb(last, vectors);
  }
  low = block_sum(low);
  __syncthreads();
  high = block_sum(high);
  if (threadIdx.x == 0) {
    fib_u64* out = reinterpret_cast<fib_u64*>(digest.digest);
    atomicAdd(out, low);
    atomicAdd(out + 1, high);
  }
}

// Together they push everything else out of L2, clean lines and dirty ones.
extern "C" __global__ void fib_flush_write(ulonglong2* buffer, fib_u64 vectors, fib_u64 value) {
  for (fib_u64 i = thread_index(); i < vectors; i += thread_count()) {
    buffer[i] = make_ulonglong2(value + i, value ^ i);
  }
}
extern "C" __global__ void fib_flush_read(ulonglong2* buffer, fib_u64 vectors, fib_u64 value) {
  fib_u64 sum = 0;
  for (fib_u64 i = thread_index(); i < vectors; i += thread_count()) sum += buffer[i].x;
  if (sum == value) buffer[0].y = sum;  // keeps the loads
}

extern "C" __global__ void fib_compare(const __grid_constant__ CompareArguments compare) {
  __shared__ unsigned int bins[kDeviceErrorBins];
  if (threadIdx.x < kDeviceErrorBins) bins[threadIdx.x] = 0;
  __syncthreads();
  DeviceErrorStats* stats = reinterpret_cast<DeviceErrorStats*>(compare.stats);
  const float* expected_values = reinterpret_cast<const float*>(compare.expected);
  const float* row_scale = reinterpret_cast<const float*>(compare.row_scale);
  const fib_u64 first_row = compare.first / compare.row_length;
  fib_u64 mismatches = 0, over = 0;
  double squared_error = 0.0, squared_reference = 0.0;
  double worst_absolute = 0.0, worst_relative = 0.0, worst_normalised = 0.0;
  fib_u64 first_bad = ~0ull;
  for (fib_u64 i = thread_index(); i < compare.count; i += thread_count()) {
    const fib_u64 index = compare.first + i;
    const float expected = expected_values[i];
    const float actual = load_element(compare.candidate, compare.format, index);
    if (!isfinite(expected) || !isfinite(actual)) {
      const bool same = isnan(expected) ? isnan(actual) : actual == expected;
      if (!same) {
        ++mismatches;
        if (index < first_bad) first_bad = index;
      }
      continue;
    }
    const double error = fabs(static_cast<double>(actual) - expected);
    const double scale = row_scale[index / compare.row_length - first_row];
    const double normalised = error == 0.0 ? 0.0 : error / scale;  // scale 0: infinite
    squared_error += error * error;
    squared_reference += static_cast<double>(expected) * expected;
    worst_absolute = fmax(worst_absolute, error);
    worst_relative = fmax(worst_relative, error / (fabs(static_cast<double>(expected)) + 1e-8));
    worst_normalised = fmax(worst_normalised, normalised);
    int bin = 0;
    if (normalised > 0.0) {
      bin = isinf(normalised) ? kDeviceErrorBins - 1 : ilogb(normalised) + kDeviceErrorBins;
      bin = bin < 0 ? 0 : bin > kDeviceErrorBins - 1 ? kDeviceErrorBins - 1 : bin;
    }
    // Nearly all elements share a few bins: one atomic a warp and bin.
    const unsigned active = __activemask();
    const unsigned peers = __match_any_sync(active, bin);
    if (threadIdx.x % 32 == __ffs(peers) - 1) atomicAdd(&bins[bin], __popc(peers));
    if (normalised > compare.max_error_rms) {
      ++over;
      if (index < first_bad) first_bad = index;
    }
  }
  squared_error = block_sum(squared_error);
  __syncthreads();
  squared_reference = block_sum(squared_reference);
  __syncthreads();
  mismatches = block_sum(mismatches);
  __syncthreads();
  over = block_sum(over);
  if (threadIdx.x == 0) {
    atomicAdd(&stats->sum_squared_error, squared_error);
    atomicAdd(&stats->sum_squared_reference, squared_reference);
    atomicAdd(&stats->nonfinite_mismatches, mismatches);
    atomicAdd(&stats->elements_over_bound, over);
    if (blockIdx.x == 0) atomicAdd(&stats->count, compare.count);
  }
  if (threadIdx.x < kDeviceErrorBins) {
    atomicAdd(&stats->histogram[threadIdx.x], static_cast<fib_u64>(bins[threadIdx.x]));
  }
  raise_max(&stats->max_absolute_error_bits, worst_absolute);
  raise_max(&stats->max_relative_error_bits, worst_relative);
  raise_max(&stats->max_normalised_error_bits, worst_normalised);
  if (first_bad != ~0ull) atomicMin(&stats->first_bad_index, first_bad);
}

}  // namespace fib
