#pragma once

// Wide accesses to device memory. A Pack moves in one instruction when its size is 4, 8 or 16
// bytes; pointers must be aligned to that size.

#include <fib/device/convert.h>

namespace fib {

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

// Data that is read once: past L1, and not kept in L2 longer than needed.
__device__ __forceinline__ uint4 load_streaming(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <class T, int N>
__device__ __forceinline__ void store(T* p, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
}

}  // namespace fib
