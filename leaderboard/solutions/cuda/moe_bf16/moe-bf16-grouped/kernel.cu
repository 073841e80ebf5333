// Mixture of experts with bf16 weights:
//   route     lists, for every expert that was chosen, its tokens in tiles
//   product   gate and up over the tiles, then silu(gate) * up            (kGateUp)
//   product   down over the tiles, one partial result a (token, choice)   (kDown)
//   combine   the weighted sum of a token's partial results, in the order of its choices
// Only experts with tokens are read. With few tokens every block lists the tiles for itself; the
// second product's weights are under way before the first has ended.

#include <fib/device/experts.h>
#include <fib/device/launch.h>
#include <fib/device/stream.h>

#include "shape.h"

using fib::Bf16;
using fib::ExpertTiles;

// topk_ids [pairs] int32; the lists as in fib::ExpertTiles. One block of kRouteThreads.
__global__ void __launch_bounds__(kRouteThreads)
    route(const int* topk_ids, int* tile_count, int* tile_experts, int* tile_pairs, int pairs,
          int tile_tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  fib::list_tiles<kExperts, kRouteThreads>(topk_ids, pairs, tile_tokens,
                                           {tile_count, tile_experts, tile_pairs});
}

namespace {

// Past L1, where an earlier kernel's lists may still lie: the second product reads these before it
// waits for the first.
__device__ __forceinline__ int read_fresh(const int* p) {
  return *static_cast<const volatile int*>(p);
}

// The step of a tile that the copying warp comes to next. Tiles are numbered with the blocks of
// rows of one tile of tokens in a row.
template <Product kProduct, int kTokens>
struct Place {
  using Shape = Streamed<kTokens>;
  enum : int {
    kDepth = depth_of(kProduct),
    kHalves = kProduct == kGateUp ? 2 : 1,  // gate and up rows lie kIntermediate apart
    kHalfRows = Shape::kRows / kHalves,
    kAllRows = kProduct == kGateUp ? int{kIntermediate} : int{kHidden},
    kRowBlocks = row_blocks(kProduct, kTokens),
    kTokensPerLane = (kTokens + 31) / 32,
  };

  ExpertTiles tiles;
  int end;  // one past the last tile
  int tile, k;
  int first_row, half_rows;  // of the tile
  int tokens;                // that exist
  int rows[kTokensPerLane];  // of the activations, this lane's
  const Bf16* weights;       // [kHalves * kAllRows, kDepth]: the expert's

  __device__ __forceinline__ void enter(const Bf16* all_weights) {
    if (tile >= end) return;
    const int i_tile = tile / kRowBlocks;
    first_row = tile % kRowBlocks * kHalfRows;
    half_rows = min(int{kHalfRows}, kAllRows - first_row);
    const size_t expert = read_fresh(tiles.experts + i_tile);
    weights = all_weights + expert * (kHalves * kAllRows) * kDepth;
    tokens = 0;
#pragma unroll
    for (int i = 0; i < kTokensPerLane; ++i) {
      const int token = i * 32 + threadIdx.x % 32;
      const int pair = token < kTokens ? read_fresh(tiles.pairs + i_tile * kTokens + token) : -1;
      // gate and up read the token's row, down the pair's own.
      rows[i] = kProduct == kGateUp && pair >= 0 ? pair / kTopK : pair;
      tokens += __popc(__ballot_sync(0xFFFFFFFFu, pair >= 0));
    }
  }
  __device__ __forceinline__ void advance(const Bf16* all_weights) {
    k += Shape::kStep;
    if (k >= kDepth) {
      k = 0;
      tile += gridDim.x;
      enter(all_weights);
    }
  }
  __device__ __forceinline__ int bytes() const { return min(int{Shape::kStep}, kDepth - k) * 2; }

  __device__ __forceinline__ void start_weights(fib::Stream<Shape>& stages) const {
    stages.open_stage(kHalves * half_rows + tokens, bytes());
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      for (int row = threadIdx.x % 32; row < half_rows; row += 32) {
        const size_t at = static_cast<size_t>(half * kAllRows + first_row + row) * kDepth + k;
        stages.copy_row(stages.stage, half * kHalfRows + row, weights + at, bytes());
      }
    }
  }
  __device__ __forceinline__ void start_tokens(const fib::Stream<Shape>& stages, int stage,
                                               const Bf16* activations) const {
#pragma unroll
    for (int i = 0; i < kTokensPerLane; ++i) {
      if (rows[i] < 0) continue;
      stages.copy_row(stage, Shape::kRows + i * 32 + threadIdx.x % 32,
                      activations + static_cast<size_t>(rows[i]) * kDepth + k, bytes());
    }
  }
};

__device__ __forceinline__ float gated(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

}  // namespace

// activations [rows, depth] bf16, weights [kExperts, weight rows, depth] bf16. Output kGateUp:
// [pairs, kIntermediate] bf16; kDown: [pairs, kHidden] float32. Blocks of fib::kStreamThreads, as
// many as the device holds, each walking over every gridDim-th tile. With kTokens fib::kFewTokens
// and up to fib::kFewPairs pairs the lists given are not read.
template <Product kProduct, int kTokens>
__global__ void __launch_bounds__(fib::kStreamThreads, 2)
    product(const Bf16* activations, const Bf16* weights, const int* topk_ids, int pairs,
            int* tile_count, int* tile_experts, int* tile_pairs, void* output) {
  using Shape = Streamed<kTokens>;
  using Here = Place<kProduct, kTokens>;
  extern __shared__ __align__(128) unsigned char shared[];
  // The next kernel begins once the lists are there, which it reads before this one has ended.
  if constexpr (kProduct == kGateUp) fib::wait_for_previous_kernel();
  fib::let_next_kernel_start();
  fib::Stream<Shape> stages(shared);
  ExpertTiles tiles = {tile_count, tile_experts, tile_pairs};
  if constexpr (kTokens == fib::kFewTokens) {
    __shared__ fib::FewExpertTiles few;
    if (pairs <= fib::kFewPairs) {
      fib::list_few_tiles<kExperts>(topk_ids, pairs, few);
      tiles = few.tiles();
    }
  }
  const int end = read_fresh(tiles.count) * Here::kRowBlocks;

  if (threadIdx.x / 32 == fib::kStreamWarps) {
    Here next;
    next.tiles = tiles;
    next.end = end;
    next.tile = blockIdx.x;
    next.k = 0;
    next.enter(weights);
    Here behind = next;
    int ahead = 0;
    for (; ahead < Shape::kStages && next.tile < end; ++ahead) {
      next.start_weights(stages);
      stages.advance();
      next.advance(weights);
    }
    fib::wait_for_previous_kernel();
    for (int stage = 0; stage < ahead; ++stage) {
      behind.start_tokens(stages, stage, activations);
      behind.advance(weights);
    }
    while (next.tile < end) {
      next.start_weights(stages);
      next.start_tokens(stages, stages.stage, activations);
      stages.advance();
      next.advance(weights);
    }
    return;
  }

  constexpr int kDepth = Here::kDepth, kStep = Shape::kStep, kQuads = Here::kHalfRows / 4;
  for (int tile = blockIdx.x; tile < end; tile += gridDim.x) {
    typename fib::Stream<Shape>::Sums sums = {};
    for (int k = 0; k < kDepth; k += kStep) {
      stages.multiply(kDepth % kStep == 0 ? kStep : min(kStep, kDepth - k), sums);
    }
    const int* const tokens = tiles.pairs + tile / Here::kRowBlocks * kTokens;
    const int first_row = tile % Here::kRowBlocks * Here::kHalfRows;
#pragma unroll
    for (int t = 0; t < Shape::kTokenTiles; ++t) {
      stages.put_chunk(stages.chunk(), sums, t);
      stages.barrier();
      for (int i = threadIdx.x; i < Shape::kChunkTokens * kQuads; i += 32 * fib::kStreamWarps) {
        const int row = i % kQuads * 4, i_token = i / kQuads;
        const int pair = read_fresh(tokens + stages.chunk_token(t, i_token));
        if (pair < 0 || first_row + row >= Here::kAllRows) continue;
        const size_t at = static_cast<size_t>(pair) * Here::kAllRows + first_row + row;
        float4 sum = {};
        stages.add_quad(stages.quad_at(stages.chunk(), i_token, row), sum);
        if constexpr (kProduct == kGateUp) {
          float4 up = {};
          stages.add_quad(stages.quad_at(stages.chunk(), i_token, Here::kHalfRows + row), up);
          uint2 packed;
          packed.x = fib::pack_bf16(gated(sum.x, up.x), gated(sum.y, up.y));
          packed.y = fib::pack_bf16(gated(sum.z, up.z), gated(sum.w, up.w));
          *reinterpret_cast<uint2*>(static_cast<Bf16*>(output) + at) = packed;
        } else {
          *reinterpret_cast<float4*>(static_cast<float*>(output) + at) = sum;
        }
      }
      stages.barrier();
    }
  }
}

// partial [tokens, kTopK, kHidden] float32, topk_weights [tokens, kTopK] float32,
// output [tokens, kHidden] bf16. Each thread four values; grid covers tokens * kHidden / 4.
__global__ void __launch_bounds__(256)
    combine(const float* partial, const int* topk_ids, const float* topk_weights, Bf16* output,
            int tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const size_t at = (static_cast<size_t>(blockIdx.x) * 256 + threadIdx.x) * 4;
  const size_t token = at / kHidden;
  if (token >= tokens) return;
  const int column = at % kHidden;
  float4 sum = {};
#pragma unroll
  for (int k = 0; k < kTopK; ++k) {
    const size_t pair = token * kTopK + k;
    if (static_cast<unsigned>(topk_ids[pair]) >= kExperts) continue;
    const float weight = topk_weights[pair];
    const float4 value = *reinterpret_cast<const float4*>(partial + pair * kHidden + column);
    sum.x += weight * value.x;
    sum.y += weight * value.y;
    sum.z += weight * value.z;
    sum.w += weight * value.w;
  }
  uint2 packed;
  packed.x = fib::pack_bf16(sum.x, sum.y);
  packed.y = fib::pack_bf16(sum.z, sum.w);
  *reinterpret_cast<uint2*>(output + at) = packed;
}
