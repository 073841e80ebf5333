#pragma once

// For many rows of A. One thread keeps a ring of stages filled through the tensor copy engine; two
// warpgroups multiply. B's rows are the 64 rows of a warpgroup instruction and A's rows its
// columns. Where tiles are few, the blocks of a cluster share K and add their sums, in a fixed
// order, through each other's shared memory.

#include <fib/device/cluster.h>
#include <fib/device/launch.h>
#include <fib/device/mma.h>
#include <fib/device/shared.h>
#include <fib/device/tma.h>
#include <fib/device/wgmma.h>

#include "output.h"

namespace {

enum : int { kColumnTiles = (kN + kBlockColumns - 1) / kBlockColumns };

struct TileOrigin {
  int token, column;
};

// Row tiles in groups run fastest, so that neighbouring blocks find each other's rows in L2.
__device__ __forceinline__ TileOrigin origin_of(int tile, int tokens_per_tile, int row_tiles,
                                                int group_rows) {
  const int group = tile / (group_rows * kColumnTiles);
  const int rows_here = min(group_rows, row_tiles - group * group_rows);
  const int in_group = tile - group * group_rows * kColumnTiles;
  return {(group * group_rows + in_group % rows_here) * tokens_per_tile,
          in_group / rows_here * kBlockColumns};
}

// Stores 16 columns x 8 rows of C: d[i] of a lane is row 2 (lane % 4) + i % 2, column lane / 4 + 8
// (i / 2). Every 8 lanes write whole 32-byte sectors.
__device__ __forceinline__ void store_fragment(float* c, int token, int column, int m,
                                               const float* d) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = token + lane % 4 * 2 + i % 2, at = column + lane / 4 + i / 2 * 8;
    if (row < m && at < kN) c[static_cast<size_t>(row) * kN + at] = d[i];
  }
}
__device__ __forceinline__ void store_fragment(fib::Bf16* c, int token, int column, int m,
                                               const float* d) {
  const int lane = threadIdx.x % 32;
  // Row lane / 4; columns 2 (lane % 4), + 1, and the same + 8.
  const fib::u32 low = fib::transpose_8x8(fib::pack_bf16(d[0], d[1]));
  const fib::u32 high = fib::transpose_8x8(fib::pack_bf16(d[2], d[3]));
  const bool is_odd = lane % 2;
  const fib::u32 other = __shfl_xor_sync(0xFFFFFFFFu, is_odd ? low : high, 1);
  uint2 quad;  // four neighbouring columns
  quad.x = is_odd ? other : low;
  quad.y = is_odd ? high : other;
  const int row = token + lane / 4;
  const int at = column + lane / 2 % 2 * 4 + (is_odd ? 8 : 0);
  if (row >= m) return;
  fib::Bf16* const to = c + static_cast<size_t>(row) * kN + at;
  if constexpr (kN % 4 == 0) {
    if (at < kN) *reinterpret_cast<uint2*>(to) = quad;
  } else {
    const fib::u32 words[2] = {quad.x, quad.y};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (at + i < kN) to[i].bits = static_cast<fib::u16>(words[i / 2] >> i % 2 * 16);
    }
  }
}

}  // namespace

// Maps over A [m, kK] in boxes of kTokens x kDepth and B [kN, kK] in boxes of kBlockColumns x
// kDepth; c [m, kN]. Grid: blocks that walk over the tiles of C, by the blocks that share K
// (one cluster; then a block has one tile); `steps_per_share` steps of K a block.
template <int kTokens>
__global__ void __launch_bounds__(kTiledThreads, 1)
    tiled(const __grid_constant__ fib::TensorMap a_map,
          const __grid_constant__ fib::TensorMap b_map, Output* c, int m, int group_rows,
          int steps_per_share) {
  constexpr int kStages = tile_stages(kTokens);
  constexpr int kStageBytes = tile_bytes(kTokens);
  constexpr int kTokenBytes = kTokens * kDepth * 2;
  constexpr int kAllSteps = (kK + kDepth - 1) / kDepth;
  extern __shared__ unsigned char shared[];
  const fib::u32 ring = (fib::shared_address(shared) + 1023) / 1024 * 1024;
  const fib::u32 filled = ring + kStages * kStageBytes, freed = filled + kStages * 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  const int row_tiles = (m + kTokens - 1) / kTokens;
  const int tiles = row_tiles * kColumnTiles;
  const int first_step = static_cast<int>(blockIdx.z) * steps_per_share;
  const int steps = max(0, min(kAllSteps - first_step, steps_per_share));

  fib::let_next_kernel_start();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      fib::barrier_init(filled + i * 8, 1);
      fib::barrier_init(freed + i * 8, 8);  // the warps that compute
    }
    fib::publish_barriers();
  }
  __syncthreads();

  if (warp < 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 0) {
      fib::wait_for_previous_kernel();  // the other warps wait for the copies
      int stage = 0;
      fib::u32 parity = 1;
      for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const TileOrigin origin = origin_of(tile, kTokens, row_tiles, group_rows);
        for (int step = 0; step < steps; ++step) {
          fib::barrier_wait(freed + stage * 8, parity);
          const fib::u32 to = ring + stage * kStageBytes, barrier = filled + stage * 8;
          const int k = (first_step + step) * kDepth;
          fib::barrier_arrive_and_expect(barrier, kStageBytes);
          fib::copy_box(to, a_map, k, origin.token, barrier);
          fib::copy_box(to + kTokenBytes, b_map, k, origin.column, barrier);
          if (++stage == kStages) {
            stage = 0;
            parity ^= 1;
          }
        }
      }
    }
    __syncwarp();
    if (gridDim.z > 1) {
      fib::cluster_barrier();
      fib::cluster_barrier();
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int half = warp / 4 - 1;  // which 64 columns of the tile
    float sums[kTokens / 2];
    int stage = 0;
    fib::u32 parity = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      if (steps == 0) {
#pragma unroll
        for (int i = 0; i < kTokens / 2; ++i) sums[i] = 0.0f;
      }
      for (int step = 0; step < steps; ++step) {
        fib::barrier_wait(filled + stage * 8, parity);
        const fib::u32 a_tile = ring + stage * kStageBytes;
        const fib::u64 x = fib::wgmma_tile(a_tile);
        const fib::u64 w = fib::wgmma_tile(a_tile + kTokenBytes + half * (64 * kDepth * 2));
        fib::wgmma_fence();
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
          fib::Wgmma<kTokens>::bf16(sums, w + k * 2, x + k * 2, step > 0 || k > 0);
        }
        fib::wgmma_commit();
        // The instructions of the step before are done: its stage may be filled again.
        fib::wgmma_wait<1>();
        if (step > 0 && lane == 0) {
          fib::barrier_arrive(freed + (stage == 0 ? kStages - 1 : stage - 1) * 8);
        }
        if (++stage == kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
      fib::wgmma_wait<0>();
      fib::wgmma_pin(sums);
      if (steps > 0 && lane == 0) {
        fib::barrier_arrive(freed + (stage == 0 ? kStages - 1 : stage - 1) * 8);
      }

      const TileOrigin origin = origin_of(tile, kTokens, row_tiles, group_rows);
      const int warp_column = half * 64 + warp % 4 * 16;
      if (gridDim.z == 1) {
#pragma unroll
        for (int j = 0; j < kTokens / 8; ++j) {
          store_fragment(c, origin.token + j * 8, origin.column + warp_column, m, sums + j * 4);
        }
        continue;
      }

      // One tile a cluster: its sums lie where the stages were, [tokens][columns + padding]. The
      // warps that compute have seen every stage filled, so no copy is under way any more; both
      // groups must be through before the stages are overwritten.
      constexpr int kStride = kBlockColumns + 4;
      fib::warps_barrier<1, 256>();
      float* const tile_sums =
          reinterpret_cast<float*>(shared + (ring - fib::shared_address(shared)));
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        const int token = i / 4 * 8 + lane % 4 * 2 + i % 2;
        tile_sums[token * kStride + warp_column + i / 2 % 2 * 8 + lane / 4] = sums[i];
      }
      fib::cluster_barrier();
      const int shares = gridDim.z, rank = fib::cluster_rank();
      const int thread = threadIdx.x - 128;
      for (int i = rank * 256 + thread; i < kTokens * kBlockColumns / 4; i += shares * 256) {
        const int token = i / (kBlockColumns / 4), column = i % (kBlockColumns / 4) * 4;
        const fib::u32 at = ring + (token * kStride + column) * 4;
        float4 sum = {};
        for (int share = 0; share < shares; ++share) {
          const float4 part = fib::load_from_block(fib::address_in_block(at, share));
          sum.x += part.x;
          sum.y += part.y;
          sum.z += part.z;
          sum.w += part.w;
        }
        if (origin.token + token >= m) continue;
        store_quad(c, origin.token + token, origin.column + column, sum);
      }
      fib::cluster_barrier();  // the others may still be reading this block's sums
    }
  }
}
