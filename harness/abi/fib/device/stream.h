#pragma once

// Products of many rows of bf16 weights with few tokens, at the speed of device memory. Weights
// are the tensor core's rows and tokens its columns, so that eight tokens are enough for a full
// instruction. One warp keeps a ring of stages in shared memory filled by bulk copies of row
// segments, any rows at any addresses; kStreamWarps warps multiply. A stage:
//   [kRows + kTokens][kStep] bf16, rows kStreamPadding bytes further apart than they are long
// Sums are float32, always added in the same order. A warp has kRowTiles x 16 rows and
// kTokenTiles x 8 tokens of one in kSlices of the depth.

namespace fib {

enum : int { kStreamWarps = 8, kStreamThreads = 32 * kStreamWarps + 32, kStreamPadding = 16 };

// Sizes, for kernels and plan.cpp alike: kStep of the depth a stage, a multiple of 16 * kSlices.
template <int kRows_, int kTokens_, int kStep_, int kStages_>
struct StreamShape {
  enum : int {
    kRows = kRows_,      // 16, or a multiple of 64
    kTokens = kTokens_,  // 8, 16, 32 or 64
    kStep = kStep_,
    kStages = kStages_,
    kRowGroups = kRows == 16 ? 1 : 4,
    kTokenGroups = kTokens >= 64 ? 2 : 1,
    kSlices = kStreamWarps / (kRowGroups * kTokenGroups),
    kRowTiles = kRows / 16 / kRowGroups,
    kTokenTiles = kTokens / 8 / kTokenGroups,
    kRowBytes = kStep * 2 + kStreamPadding,  // 16 modulo 128: ldmatrix meets all banks
    kStageBytes = (kRows + kTokens) * kRowBytes,
    // Sums of one token tile of every warp: [kSlices][kTokenGroups * 8][kSumStride] float32.
    kSumStride = kRows + 4,
    kChunkTokens = kTokenGroups * 8,
    kChunkBytes = kSlices * kChunkTokens * kSumStride * 4,
    kSharedBytes = kStages * (kStageBytes + 16) + kChunkBytes,
  };
  static_assert(kStep % (16 * kSlices) == 0 && kStep % 64 == 0, "each slice a share of a step");
  static_assert(kTokenTiles * kChunkBytes <= kStages * kStageBytes, "all sums fit into the ring");
};

}  // namespace fib

#ifdef __CUDACC__

#include <fib/device/cluster.h>
#include <fib/device/mma.h>
#include <fib/device/shared.h>
#include <fib/device/tma.h>

namespace fib {

template <class Shape>
struct Stream {
  u32 ring;    // kStages stages, then a barrier "filled" and one "freed" for each
  int stage;   // the next one of this thread
  u32 parity;  // of the barrier it waits for next

  // All threads of the block, with `shared` of Shape::kSharedBytes, aligned to 128.
  __device__ __forceinline__ explicit Stream(void* shared)
      : ring(shared_address(shared)), stage(0) {
    parity = threadIdx.x / 32 == kStreamWarps ? 1 : 0;
    if (threadIdx.x == 0) {
      for (int i = 0; i < Shape::kStages; ++i) {
        barrier_init(filled(i), 1);
        barrier_init(freed(i), kStreamWarps);
      }
      publish_barriers();
    }
    __syncthreads();
  }

  __device__ __forceinline__ u32 at(int i) const { return ring + i * Shape::kStageBytes; }
  __device__ __forceinline__ u32 filled(int i) const {
    return ring + Shape::kStages * Shape::kStageBytes + Shape::kChunkBytes + i * 16;
  }
  __device__ __forceinline__ u32 freed(int i) const { return filled(i) + 8; }
  __device__ __forceinline__ u32 chunk() const { return at(Shape::kStages); }
  __device__ __forceinline__ void advance() {
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }

  // The copying warp: waits until the stage is free and announces `rows` copies of `bytes` each.
  __device__ __forceinline__ void open_stage(int rows, int bytes) {
    barrier_wait(freed(stage), parity);
    if (threadIdx.x % 32 == 0) barrier_arrive_and_expect(filled(stage), rows * bytes);
    __syncwarp();
  }
  // Row `row` of stage `i`: weights are rows 0.., tokens follow from Shape::kRows on.
  __device__ __forceinline__ void copy_row(int i, int row, const Bf16* from, int bytes) const {
    copy_bulk(at(i) + row * Shape::kRowBytes, from, bytes, filled(i));
  }

  // The multiplying warps.
  using Sums = float[Shape::kRowTiles][Shape::kTokenTiles][4];

  // Adds the product of the next stage, of which `depth` (a multiple of 16) is filled.
  __device__ __forceinline__ void multiply(int depth, Sums& sums) {
    constexpr int kRowSpan = Shape::kRowTiles * 16, kTokenSpan = Shape::kTokenTiles * 8;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 weights =
        at(stage) + (first_row(warp) + lane % 16) * Shape::kRowBytes + lane / 16 * 16;
    // Lanes beyond 15 give addresses that count only where two token tiles are read at once.
    const u32 tokens =
        at(stage) +
        (Shape::kRows + first_token(warp) + lane % 8 + (kTokenSpan > 8 ? lane / 16 * 8 : 0)) *
            Shape::kRowBytes +
        lane / 8 % 2 * 16;
    barrier_wait(filled(stage), parity);
#pragma unroll
    for (int i = 0; i < Shape::kStep / 16 / Shape::kSlices; ++i) {
      const int k = (i * Shape::kSlices + slice(warp)) * 16;
      if (k >= depth) break;
      u32 w[Shape::kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowSpan / 16; ++m) {
        ldmatrix(w[m], weights + m * 16 * Shape::kRowBytes + k * 2);
      }
      if constexpr (kTokenSpan == 8) {
        u32 x[2];
        ldmatrix(x, tokens + k * 2);
#pragma unroll
        for (int m = 0; m < kRowSpan / 16; ++m) mma_bf16(sums[m][0], w[m], x[0], x[1]);
      } else {
#pragma unroll
        for (int t = 0; t < Shape::kTokenTiles; t += 2) {
          u32 x[4];
          ldmatrix(x, tokens + t * 8 * Shape::kRowBytes + k * 2);
#pragma unroll
          for (int m = 0; m < kRowSpan / 16; ++m) {
            mma_bf16(sums[m][t], w[m], x[0], x[1]);
            mma_bf16(sums[m][t + 1], w[m], x[2], x[3]);
          }
        }
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(freed(stage));
    advance();
  }

  // Among the multiplying warps alone.
  __device__ __forceinline__ static void barrier() { warps_barrier<1, 32 * kStreamWarps>(); }

  // Puts token tile t of every warp's sums at `to`, kChunkBytes: a chunk. Its i-th token is token
  // chunk_token(t, i) of the stage.
  __device__ __forceinline__ static void put_chunk(u32 to, const Sums& sums, int t) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int token = slice(warp) * Shape::kChunkTokens + token_group(warp) * 8 + lane % 4 * 2;
    const u32 first = to + (token * Shape::kSumStride + first_row(warp) + lane / 4) * 4;
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int offset = i % 2 * Shape::kSumStride + m * 16 + i / 2 * 8;
        store_shared(first + offset * 4, sums[m][t][i]);
      }
    }
  }
  __device__ __forceinline__ static int chunk_token(int t, int i) {
    return i / 8 * (Shape::kTokenTiles * 8) + t * 8 + i % 8;
  }
  // Where rows row .. row + 3 (row a multiple of 4) of a chunk's i-th token lie.
  __device__ __forceinline__ static u32 quad_at(u32 chunk, int i, int row) {
    return chunk + (i * Shape::kSumStride + row) * 4;
  }
  // Adds the four rows' sums over the slices.
  __device__ __forceinline__ static void add_quad(u32 quad, float4& sum) {
#pragma unroll
    for (int s = 0; s < Shape::kSlices; ++s) add(load_shared(quad + s * kSliceBytes), sum);
  }
  // The same of what lies there in block `rank` of the cluster.
  __device__ __forceinline__ static void add_quad_of(u32 rank, u32 quad, float4& sum) {
    quad = address_in_block(quad, rank);
#pragma unroll
    for (int s = 0; s < Shape::kSlices; ++s) add(load_from_block(quad + s * kSliceBytes), sum);
  }

 private:
  enum : int { kSliceBytes = Shape::kChunkTokens * Shape::kSumStride * 4 };
  __device__ __forceinline__ static void add(float4 part, float4& sum) {
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  __device__ __forceinline__ static int slice(int warp) {
    return warp / (Shape::kRowGroups * Shape::kTokenGroups);
  }
  __device__ __forceinline__ static int token_group(int warp) {
    return warp / Shape::kRowGroups % Shape::kTokenGroups;
  }
  __device__ __forceinline__ static int first_row(int warp) {
    return warp % Shape::kRowGroups * Shape::kRowTiles * 16;
  }
  __device__ __forceinline__ static int first_token(int warp) {
    return token_group(warp) * Shape::kTokenTiles * 8;
  }
};

}  // namespace fib

#endif  // __CUDACC__
