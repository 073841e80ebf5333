#pragma once

// Copies from device to shared memory that run behind the thread's back. A thread commits what it
// has started as one group; wait_for_copies<n>() waits until at most n younger groups are left.
// Other threads see the bytes after a barrier that follows the wait.

#include <fib/device/shared.h>

namespace fib {

// 16 bytes, both sides aligned to 16. With `is_inside` false nothing is read and zeros are written.
__device__ __forceinline__ void copy_16(u32 shared, const void* global, bool is_inside = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(is_inside ? 16 : 0)
               : "memory");
}
// 4 or 8 bytes.
template <int kBytes>
__device__ __forceinline__ void copy_small(u32 shared, const void* global, bool is_inside = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(global),
               "n"(kBytes), "r"(is_inside ? kBytes : 0)
               : "memory");
}
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kYounger>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kYounger) : "memory");
}

}  // namespace fib
