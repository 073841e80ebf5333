#pragma once

// For few rows of A, bound by reading B: B's rows stream through shared memory beside A's. The
// first stages of B are under way before the kernel that computes A has ended. Where B has too few
// rows to fill the device, the blocks of a cluster share K and add their sums in a fixed order.

#include <fib/device/launch.h>
#include <fib/device/stream.h>

#include "output.h"

// A step of a tile of kRows rows of B, in the order in which a block comes to them.
struct StreamPlace {
  int tile, k;
  __device__ __forceinline__ void advance(int step, int k_begin, int k_end) {
    k += step;
    if (k >= k_end) {
      k = k_begin;
      tile += gridDim.x;
    }
  }
};

// a [m, kK], b [kN, kK] bf16, c [m, kN], m at most kTokens. Grid: blocks that walk over the tiles
// of B, by the blocks that share K (one cluster; then a block has one tile); `k_share` of K a
// block, a multiple of the step.
template <int kRows, int kTokens>
__global__ void __launch_bounds__(fib::kStreamThreads, 2)
    stream(const fib::Bf16* a, const fib::Bf16* b, Output* c, int m, int k_share) {
  using Shape = Streamed<kRows, kTokens>;
  constexpr int kStep = Shape::kStep, kTiles = (kN + kRows - 1) / kRows;
  extern __shared__ __align__(128) unsigned char shared[];
  fib::let_next_kernel_start();
  fib::Stream<Shape> stages(shared);
  const int k_begin = static_cast<int>(blockIdx.z) * k_share, k_end = min(kK, k_begin + k_share);
  const int thread = threadIdx.x, lane = thread % 32;

  if (thread / 32 == fib::kStreamWarps) {
    const auto bytes_of = [&](StreamPlace p) { return min(kStep, k_end - p.k) * 2; };
    const auto start_weights = [&](StreamPlace p) {
      const int rows = min(kRows, kN - p.tile * kRows);
      stages.open_stage(rows + m, bytes_of(p));
      for (int row = lane; row < rows; row += 32) {
        const size_t at = static_cast<size_t>(p.tile * kRows + row) * kK + p.k;
        stages.copy_row(stages.stage, row, b + at, bytes_of(p));
      }
    };
    const auto start_tokens = [&](StreamPlace p, int stage) {
      for (int row = lane; row < m; row += 32) {
        stages.copy_row(stage, kRows + row, a + static_cast<size_t>(row) * kK + p.k, bytes_of(p));
      }
    };
    const bool is_idle = k_begin >= k_end;  // a share past the end
    const StreamPlace first = {is_idle ? int{kTiles} : static_cast<int>(blockIdx.x), k_begin};
    StreamPlace next = first;
    int ahead = 0;
    for (; ahead < Shape::kStages && next.tile < kTiles; ++ahead) {
      start_weights(next);
      stages.advance();
      next.advance(kStep, k_begin, k_end);
    }
    fib::wait_for_previous_kernel();
    StreamPlace behind = first;
    for (int stage = 0; stage < ahead; ++stage) {
      start_tokens(behind, stage);
      behind.advance(kStep, k_begin, k_end);
    }
    while (next.tile < kTiles) {
      start_weights(next);
      start_tokens(next, stages.stage);
      stages.advance();
      next.advance(kStep, k_begin, k_end);
    }
    __syncwarp();
    if (gridDim.z > 1) {
      fib::cluster_barrier();
      fib::cluster_barrier();
    }
    return;
  }

  constexpr int kQuads = kRows / 4;  // four rows of B: four neighbouring columns of C
  for (int tile = blockIdx.x; tile < kTiles; tile += gridDim.x) {
    typename fib::Stream<Shape>::Sums sums = {};
    for (int k = k_begin; k < k_end; k += kStep) {
      stages.multiply(kK % kStep == 0 ? kStep : min(kStep, k_end - k), sums);
    }
    if (gridDim.z == 1) {
      for (int t = 0; t < Shape::kTokenTiles; ++t) {
        stages.put_chunk(stages.chunk(), sums, t);
        stages.barrier();
        for (int i = thread; i < Shape::kChunkTokens * kQuads; i += 32 * fib::kStreamWarps) {
          const int row = i % kQuads * 4, token = stages.chunk_token(t, i / kQuads);
          if (token >= m) continue;
          float4 sum = {};
          stages.add_quad(stages.quad_at(stages.chunk(), i / kQuads, row), sum);
          store_quad(c, token, tile * kRows + row, sum);
        }
        stages.barrier();
      }
      continue;
    }

    stages.barrier();  // every stage has been read: the ring takes the sums of all tokens
    for (int t = 0; t < Shape::kTokenTiles; ++t) {
      stages.put_chunk(stages.ring + t * Shape::kChunkBytes, sums, t);
    }
    fib::cluster_barrier();
    const int shares = gridDim.z, rank = fib::cluster_rank();
    for (int i = rank * 32 * fib::kStreamWarps + thread; i < kTokens * kQuads;
         i += shares * 32 * fib::kStreamWarps) {
      const int t = i / kQuads / Shape::kChunkTokens, i_token = i / kQuads % Shape::kChunkTokens;
      const int row = i % kQuads * 4, token = stages.chunk_token(t, i_token);
      if (token >= m) continue;
      const fib::u32 quad = stages.quad_at(stages.ring + t * Shape::kChunkBytes, i_token, row);
      float4 sum = {};
      for (int share = 0; share < shares; ++share) {
        stages.add_quad_of(share, quad, sum);
      }
      store_quad(c, token, tile * kRows + row, sum);
    }
    fib::cluster_barrier();  // the others may still be reading this block's sums
  }
}
