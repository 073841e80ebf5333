#pragma once

// Sums over the threads that share a row.

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

}  // namespace fib
