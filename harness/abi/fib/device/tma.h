#pragma once

// The bulk copy engine and the barriers in shared memory that it reports to (PTX ISA, mbarrier and
// cp.async.bulk; sm_90). Barriers are 8 bytes at addresses in shared memory.

#include <fib/device/convert.h>

namespace fib {

// A CUtensorMap, passed by value: `const __grid_constant__ TensorMap map`.
struct alignas(64) TensorMap {
  u64 opaque[16];
};

__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// After the last barrier_init, before the barriers are used.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives by itself once all copies that this thread has started (async_copy.h) are done.
__device__ __forceinline__ void barrier_arrive_after_copies(u32 barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and makes the barrier wait for that many bytes of copies too.
__device__ __forceinline__ void barrier_arrive_and_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Until the phase of that parity is over. A fresh barrier counts as having finished parity 1.
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again_%=;\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Copies `bytes` bytes, a multiple of 16, both sides aligned to 16; `barrier` counts them. One
// thread's instruction, however many bytes.
__device__ __forceinline__ void copy_bulk(u32 shared, const void* global, u32 bytes, u32 barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}

// Copies the map's box at (column, row) to `shared`; `barrier` counts the bytes. What lies outside
// the tensor becomes zero and counts too.
__device__ __forceinline__ void copy_box(u32 shared, const TensorMap& map, int column, int row,
                                         u32 barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared),
      "l"(&map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}

}  // namespace fib
