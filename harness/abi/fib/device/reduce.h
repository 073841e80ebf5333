#pragma once

// Sums and maxima over the threads that share a row.

#include <fib/device/convert.h>

namespace fib {

// Over groups of kThreads neighbouring lanes, a power of two up to 32; every lane gets the sum.
template <int kThreads>
__device__ __forceinline__ float sum_over_lanes(float value) {
  for (int offset = kThreads / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
  }
  return value;
}

// Over the kThreads threads, a multiple of 32, with the same threadIdx.y; every one gets the sum,
// always added in the same order. For blocks of up to 1024 threads that all take part, and for one
// call a kernel: the shared memory is not used twice.
template <int kThreads>
__device__ __forceinline__ float sum_over_row(float value) {
  constexpr int kWarps = kThreads / 32;
  __shared__ float partial[1024 / kThreads][kWarps];
  value = sum_over_lanes<32>(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.y][threadIdx.x / 32] = value;
  __syncthreads();
  value = 0.0f;
  for (int warp = 0; warp < kWarps; ++warp) value += partial[threadIdx.y][warp];
  return value;
}

// An integer that is ordered as the values are: -0 as 0, NaN above all. Never 0.
__device__ __forceinline__ u32 ordered_bits(float value) {
  if (value != value) return 0xFFFFFFFFu;
  const u32 bits = __float_as_uint(value + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
// Ordered by value and, among equal values, from the last index to the first: the largest of many
// is the first index of the largest value.
__device__ __forceinline__ u64 ordered_pair(float value, u32 index) {
  return static_cast<u64>(ordered_bits(value)) << 32 | (0xFFFFFFFFu - index);
}
__device__ __forceinline__ u32 index_of(u64 ordered_pair) {
  return 0xFFFFFFFFu - static_cast<u32>(ordered_pair);
}

__device__ __forceinline__ bool is_of_nan(u64 ordered_pair) {
  return ordered_pair >> 32 == 0xFFFFFFFFu;
}

// The largest in the warp, in every lane.
__device__ __forceinline__ u32 max_over_lanes(u32 value) {
  return __reduce_max_sync(0xFFFFFFFFu, value);
}
__device__ __forceinline__ u32 min_over_lanes(u32 value) {
  return __reduce_min_sync(0xFFFFFFFFu, value);
}
__device__ __forceinline__ float max_over_lanes(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  }
  return value;
}
__device__ __forceinline__ u64 max_over_lanes(u64 value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value = max(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  }
  return value;
}

// The largest in the block of kThreads threads, a multiple of 32, all of which take part; every
// one gets it. One call a kernel, as above.
template <int kThreads>
__device__ __forceinline__ u64 max_over_block(u64 value) {
  constexpr int kWarps = kThreads / 32;
  __shared__ u64 partial[kWarps];
  value = max_over_lanes(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  return max_over_lanes(threadIdx.x % 32 < kWarps ? partial[threadIdx.x % 32] : 0ull);
}

}  // namespace fib
