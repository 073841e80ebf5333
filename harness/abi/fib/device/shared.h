#pragma once

// Shared memory by its 32-bit addresses, as the instructions around the copy engines and the tensor
// cores take them, and barriers among some of a block's warps.

#include <fib/device/convert.h>

namespace fib {

__device__ __forceinline__ u32 shared_address(const void* p) {
  return static_cast<u32>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void store_shared(u32 address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}
__device__ __forceinline__ float4 load_shared(u32 address) {  // a multiple of 16
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

// Among the first kThreads threads, a multiple of 32, to come to barrier kBarrier (1 to 15; 0 is
// __syncthreads).
template <int kBarrier, int kThreads>
__device__ __forceinline__ void warps_barrier() {
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}

}  // namespace fib
