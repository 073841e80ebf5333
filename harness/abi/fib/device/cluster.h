#pragma once

// Blocks of a cluster share a barrier and can read each other's shared memory (PTX ISA,
// barrier.cluster and mapa; sm_90).

#include <fib/device/shared.h>

namespace fib {

__device__ __forceinline__ u32 cluster_rank() {
  u32 rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ u32 cluster_size() {
  u32 size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
}

// All threads of all blocks; what they wrote before is seen after. Without a cluster, of the block.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// The address in the cluster of what lies at `shared` in block `rank`.
__device__ __forceinline__ u32 address_in_block(u32 shared, u32 rank) {
  u32 address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}
__device__ __forceinline__ float4 load_from_block(u32 address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ u64 load_u64_from_block(u32 address) {
  u64 v;
  asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(v) : "r"(address) : "memory");
  return v;
}

// Over the blocks of the cluster, or the block alone: thread 0's value of each counts, and every
// thread gets the result. All threads of all blocks call it, once a kernel.
__device__ __forceinline__ u64 max_over_cluster(u64 value) {
  __shared__ u64 slot;
  if (threadIdx.x == 0 && threadIdx.y == 0) slot = value;
  cluster_barrier();
  const u32 size = cluster_size();
  for (u32 rank = 0; rank < size; ++rank) {
    const u64 other = load_u64_from_block(address_in_block(shared_address(&slot), rank));
    value = rank == 0 ? other : max(value, other);
  }
  cluster_barrier();  // the others may still be reading this block's
  return value;
}
// The same; always added in the same order.
__device__ __forceinline__ float sum_over_cluster(float value) {
  __shared__ float4 slot;
  if (threadIdx.x == 0 && threadIdx.y == 0) slot.x = value;
  cluster_barrier();
  const u32 size = cluster_size();
  value = 0.0f;
  for (u32 rank = 0; rank < size; ++rank) {
    value += load_from_block(address_in_block(shared_address(&slot), rank)).x;
  }
  cluster_barrier();
  return value;
}

}  // namespace fib
