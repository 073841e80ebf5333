// Mixture of experts with INT4 weights, straight from the checkpoint's layout:
//   route     lists, for every expert that was chosen, its tokens in tiles
//   product   gate and up over the tiles, then silu(gate) * up            (kGateUp)
//   product   down over the tiles, one partial result a (token, choice)   (kDown)
//   combine   the weighted sum of a token's partial results, in the order of its choices
// Only experts with tokens are read. With few tokens every block lists the tiles for itself.
// Weights enter the tensor cores as the exact integers, in registers; each group's float32 sum is
// multiplied by its scale, so no weight is ever rounded.

#include <fib/device/async_copy.h>
#include <fib/device/experts.h>
#include <fib/device/int4.h>
#include <fib/device/launch.h>
#include <fib/device/mma.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::Bf16;
using fib::ExpertTiles;
using fib::u32;

// topk_ids [pairs] int32; the lists as in fib::ExpertTiles. One block of kRouteThreads.
__global__ void __launch_bounds__(kRouteThreads)
    route(const int* topk_ids, int* tile_count, int* tile_experts, int* tile_pairs, int pairs,
          int tile_tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  fib::list_tiles<kExperts, kRouteThreads>(topk_ids, pairs, tile_tokens,
                                           {tile_count, tile_experts, tile_pairs});
}

// Past L1, where an earlier kernel's lists may still lie: `down` reads these before it waits for
// gate and up.
__device__ __forceinline__ int read_fresh(const int* p) {
  return *static_cast<const volatile int*>(p);
}

// Where the loads of a block are: they run ahead of the arithmetic, across tiles.
template <Product kProduct, int kRows, int kTokens>
struct Loader {
  enum : int {
    kDepth = depth_of(kProduct),
    kStep = step_depth(kProduct, kTokens),
    kSteps = (kDepth + kStep - 1) / kStep,
    kThreads = threads_of(kRows, kTokens),
    kWeightRows = kProduct == kGateUp ? 2 * kIntermediate : int{kHidden},
    kWeightPieces = kStep / 32,  // 16-byte pieces a row: one group each
    kTokenPieces = kStep / 8,
    kTokenRows = (kTokens * kTokenPieces + kThreads - 1) / kThreads,
    kScaleBytes = kDepth % 256 == 0 && kStep >= 256 ? 16
                  : kDepth % 128 == 0               ? 8
                                                    : 4,
    kScalePieces = scale_stride(kStep) / kScaleBytes,
    kGroups = kDepth / kGroup,
  };
  // Every step and every block of rows is full: nothing to check.
  enum : bool {
    kIsWhole = kDepth % kStep == 0 && (kProduct == kGateUp || kHidden % kRows == 0),
  };
  static_assert(kThreads % kTokenPieces == 0);

  const Bf16* activations;
  const u32* packed;
  const Bf16* scales;
  const int* tile_experts;
  const int* tile_pairs;
  int tile_end;                  // (tile of tokens) * row_blocks + row block, one past the last
  int tile, step;                // next to load
  int expert, rows[kTokenRows];  // of `tile`
  int next_expert, next_rows[kTokenRows];  // of the tile after it, if fetched ahead
  int weight;                              // this thread's first row of weights, and its pieces
  const u32* weight_from;
  const Bf16* scale_from;

  __device__ void fetch_next(int from) {
    if (from >= tile_end) return;
    const int tokens_tile = from / row_blocks(kProduct, kRows);
    next_expert = read_fresh(tile_experts + tokens_tile);
#pragma unroll
    for (int i = 0; i < kTokenRows; ++i) {
      const int token = (i * kThreads + static_cast<int>(threadIdx.x)) / kTokenPieces;
      next_rows[i] = token < kTokens ? read_fresh(tile_pairs + tokens_tile * kTokens + token) : -1;
    }
  }

  __device__ void enter_tile() {
    // Many tokens: no registers to spare for rows fetched ahead, and a tile lasts longer.
    if constexpr (kTokens > 32) fetch_next(tile);
    expert = next_expert;
#pragma unroll
    for (int i = 0; i < kTokenRows; ++i) {
      // gate and up read the token's row, down the pair's own.
      rows[i] = next_rows[i] < 0 || kProduct == kDown ? next_rows[i] : next_rows[i] / kTopK;
    }
    aim();
    if constexpr (kTokens <= 32) fetch_next(tile + gridDim.x);
  }

  // Row of the expert's weights that stands in row `row` of a stage; kWeightRows or more if none
  // does. Gate and up: a warp has 16 gate rows, then the same 16 up rows.
  __device__ static int weight_row(int row_block, int row) {
    if constexpr (kProduct == kGateUp) {
      const int inner = row_block * (kRows / 2) + row / 32 * 16 + row % 16;
      return row / 16 % 2 * kIntermediate + inner;
    } else {
      return row_block * kRows + row;
    }
  }
  // How far `rows` stage rows, a multiple of 32, lie apart there.
  static constexpr int weight_rows_between(int rows) {
    static_assert(kThreads % (32 * kWeightPieces) == 0 && kThreads % (32 * kScalePieces) == 0);
    return kProduct == kGateUp ? rows / 2 : rows;
  }

  // Points this thread's pieces at the first step of `tile`.
  __device__ void aim() {
    const int row_block = tile % row_blocks(kProduct, kRows);
    const size_t first_row = static_cast<size_t>(expert) * kWeightRows;
    const int thread = threadIdx.x;
    weight = weight_row(row_block, thread / kWeightPieces);
    weight_from = packed + (first_row + weight) * (kDepth / 8) + thread % kWeightPieces * 4;
    scale_from =
        scales +
        (first_row + weight_row(row_block, thread / kScalePieces % kRows)) * (kDepth / kGroup) +
        thread % kScalePieces * (kScaleBytes / 2);
  }

  // The next step's weights and scales.
  __device__ void start_weights(u32 stage) const {
    const int thread = threadIdx.x;
    const int first_group = step * kWeightPieces;
#pragma unroll
    for (int i = 0; i < kRows * kWeightPieces / kThreads; ++i) {
      constexpr int kRowsApart = kThreads / kWeightPieces;
      constexpr int kApart = weight_rows_between(kRowsApart);
      const bool is_inside = kIsWhole || (weight + i * kApart < kWeightRows &&
                                          first_group + thread % kWeightPieces < kGroups);
      const int row = i * kRowsApart + thread / kWeightPieces;
      fib::copy_16(stage + row * weight_stride(kStep) + thread % kWeightPieces * 16,
                   weight_from + i * kApart * (kDepth / 8), is_inside);
    }
    const u32 scale_stage = stage + kRows * weight_stride(kStep);
#pragma unroll
    for (int i = 0; i < (kRows * kScalePieces + kThreads - 1) / kThreads; ++i) {
      constexpr int kRowsApart = kThreads / kScalePieces;
      constexpr int kApart = weight_rows_between(kRowsApart);
      const int row = i * kRowsApart + thread / kScalePieces;
      if (row >= kRows) break;
      const int piece = thread % kScalePieces;
      const bool is_inside =
          kIsWhole || (weight_row(tile % row_blocks(kProduct, kRows), row) < kWeightRows &&
                       first_group + piece * (kScaleBytes / 2) < kGroups);
      const u32 to = scale_stage + row * scale_stride(kStep) + piece * kScaleBytes;
      const Bf16* const from = scale_from + i * kApart * (kDepth / kGroup);
      if constexpr (kScaleBytes == 16) {
        fib::copy_16(to, from, is_inside);
      } else {
        fib::copy_small<kScaleBytes>(to, from, is_inside);
      }
    }
  }
  __device__ void start_tokens(u32 stage) const {
    const u32 token_stage = stage + kRows * (weight_stride(kStep) + scale_stride(kStep));
#pragma unroll
    for (int i = 0; i < kTokenRows; ++i) {
      const int token = (i * kThreads + static_cast<int>(threadIdx.x)) / kTokenPieces;
      const int piece = threadIdx.x % kTokenPieces;
      if (token >= kTokens) break;
      const int column = step * kStep + piece * 8;
      const bool is_inside = rows[i] >= 0 && (kIsWhole || column < kDepth);
      fib::copy_16(token_stage + token * token_stride(kStep) + piece * 16,
                   activations + static_cast<size_t>(is_inside ? rows[i] : 0) * kDepth + column,
                   is_inside);
    }
  }
  __device__ void advance() {
    weight_from += kStep / 8;
    scale_from += kStep / kGroup;
    if (++step == kSteps) {
      step = 0;
      tile += gridDim.x;
      enter_tile();
    }
  }
  // Starts the copies of the next step into `stage` and moves on. Always commits a group.
  __device__ void start(u32 stage) {
    if (tile < tile_end) {
      start_weights(stage);
      start_tokens(stage);
      advance();
    }
    fib::commit_copies();
  }
};

// activations [rows, depth] bf16; packed [kExperts, weight rows, depth / 8]; scales
// [kExperts, weight rows, depth / 32] bf16. Output kGateUp: [pairs, kIntermediate] bf16;
// kDown: [pairs, kHidden] float32. Blocks of threads_of(kRows, kTokens), as many as the device
// holds, each walking over every gridDim-th tile. With kTokens fib::kFewTokens and up to
// fib::kFewPairs pairs the lists given are not read.
template <Product kProduct, int kRows, int kTokens>
__global__ void __launch_bounds__(threads_of(kRows, kTokens), blocks_a_multiprocessor(kTokens))
    product(const Bf16* activations, const u32* packed, const Bf16* scales, const int* topk_ids,
            int pairs, int* tile_count, int* tile_experts, int* tile_pairs, void* output) {
  using Loads = Loader<kProduct, kRows, kTokens>;
  constexpr int kStep = Loads::kStep;
  constexpr int kStages = stages(kProduct, kRows, kTokens);
  static_assert(kStages >= 2, "one step is under way while another is worked on");
  constexpr int kStageBytes = stage_bytes(kProduct, kRows, kTokens);
  constexpr int kColumns = kTokens / 8;
  constexpr int kShares = depth_warps(kRows, kTokens);
  constexpr int kGroups = kStep / kGroup / kShares;  // of a step, a warp
  extern __shared__ __align__(128) unsigned char shared[];
  const u32 ring = fib::shared_address(shared);
  // Which 32 rows of the block, and which share of a step's groups.
  constexpr int kRowWarps = row_warps(kRows);
  const int warp = threadIdx.x / 32 % kRowWarps, share = threadIdx.x / 32 / kRowWarps;
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;

  // With few tokens the weights of `down` are under way before gate and up have ended, which let it
  // begin when the lists were there.
  constexpr bool kIsAhead = kProduct == kDown && kTokens == fib::kFewTokens;
  if constexpr (!kIsAhead) fib::wait_for_previous_kernel();
  fib::let_next_kernel_start();
  ExpertTiles tiles = {tile_count, tile_experts, tile_pairs};
  if constexpr (kTokens == fib::kFewTokens) {
    __shared__ fib::FewExpertTiles few;
    if (pairs <= fib::kFewPairs) {
      fib::list_few_tiles<kExperts>(topk_ids, pairs, few);
      tiles = few.tiles();
    }
  }
  Loads loads;
  loads.activations = activations;
  loads.packed = packed;
  loads.scales = scales;
  loads.tile_experts = tiles.experts;
  loads.tile_pairs = tiles.pairs;
  loads.tile_end = read_fresh(tiles.count) * row_blocks(kProduct, kRows);
  loads.tile = blockIdx.x;
  loads.step = 0;
  loads.fetch_next(loads.tile);
  if (loads.tile < loads.tile_end) loads.enter_tile();
  if constexpr (kIsAhead) {
    Loads behind = loads;
    for (int i = 0; i < kStages - 1 && loads.tile < loads.tile_end; ++i) {
      loads.start_weights(ring + i * kStageBytes);
      loads.advance();
    }
    fib::wait_for_previous_kernel();
    for (int i = 0; i < kStages - 1; ++i) {
      if (behind.tile < behind.tile_end) {
        behind.start_tokens(ring + i * kStageBytes);
        behind.advance();
      }
      fib::commit_copies();
    }
  } else {
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) loads.start(ring + i * kStageBytes);
  }

  int stage = 0;
  for (int tile = blockIdx.x; tile < loads.tile_end; tile += gridDim.x) {
    float sums[2][kColumns][4] = {};  // two tiles of 16 weight rows; columns are tokens
    for (int step = 0; step < Loads::kSteps; ++step) {
      fib::wait_for_copies<kStages - 2>();
      __syncthreads();
      const int freed = stage == 0 ? kStages - 1 : stage - 1;
      loads.start(ring + freed * kStageBytes);

      const unsigned char* const weights = shared + stage * kStageBytes;
      const unsigned char* const scale_rows = weights + kRows * weight_stride(kStep);
      const unsigned char* const tokens = scale_rows + kRows * scale_stride(kStep);
#pragma unroll(kTokens <= 16 ? 4 : 2)
      for (int i_group = 0; i_group < kGroups; ++i_group) {
        const int group = share * kGroups + i_group;
        u32 a[2][2][4];     // [row tile][half of the group]: fragments of 16 columns
        float scale[2][2];  // [row tile]: of rows g and g + 8
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int row = warp * 32 + m * 16 + half * 8 + g;
            // A lane's word is 8 neighbouring columns: the order of columns within the group does
            // not matter as long as tokens come in the same order.
            u32 pairs[4];
            fib::unpack_int4(*reinterpret_cast<const u32*>(weights + row * weight_stride(kStep) +
                                                           group * 16 + c * 4),
                             pairs);
            a[m][0][half] = pairs[0];
            a[m][0][2 + half] = pairs[1];
            a[m][1][half] = pairs[2];
            a[m][1][2 + half] = pairs[3];
            scale[m][half] = to_float(
                *reinterpret_cast<const Bf16*>(scale_rows + row * scale_stride(kStep) + group * 2));
          }
        }
#pragma unroll
        for (int t = 0; t < kColumns; ++t) {
          const uint4 x = *reinterpret_cast<const uint4*>(
              tokens + (t * 8 + g) * token_stride(kStep) + group * 64 + c * 16);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            float sum[4];
            fib::mma_bf16_first(sum, a[m][0], x.x, x.y);
            fib::mma_bf16(sum, a[m][1], x.z, x.w);
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[m][t][i] += sum[i] * scale[m][i / 2];
          }
        }
      }
      stage = stage == kStages - 1 ? 0 : stage + 1;
    }

    if constexpr (kShares > 1) {  // the other shares' sums go to the first
      __shared__ float2 handed_over[kShares - 1][2 * kColumns * 2][32 * kRowWarps];
      const int slot = warp * 32 + lane;
#pragma unroll
      for (int i = 0; i < 2 * kColumns * 2; ++i) {
        const float(&sum)[4] = sums[i / (kColumns * 2)][i / 2 % kColumns];
        if (share > 0) handed_over[share - 1][i][slot] = {sum[i % 2 * 2], sum[i % 2 * 2 + 1]};
      }
      __syncthreads();  // the next barrier, a step later, frees the memory again
      if (share > 0) continue;
#pragma unroll
      for (int i = 0; i < 2 * kColumns * 2; ++i) {
        float(&sum)[4] = sums[i / (kColumns * 2)][i / 2 % kColumns];
#pragma unroll
        for (int other = 0; other < kShares - 1; ++other) {
          const float2 part = handed_over[other][i][slot];
          sum[i % 2 * 2] += part.x;
          sum[i % 2 * 2 + 1] += part.y;
        }
      }
    }

    const int* const tokens = tiles.pairs + tile / row_blocks(kProduct, kRows) * kTokens;
    const int row_block = tile % row_blocks(kProduct, kRows);
#pragma unroll
    for (int t = 0; t < kColumns; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int pair = read_fresh(tokens + t * 8 + c * 2 + i % 2);
        if (pair < 0) continue;
        if constexpr (kProduct == kGateUp) {
          const int row = row_block * (kRows / 2) + warp * 16 + i / 2 * 8 + g;
          const float gate = sums[0][t][i];
          const float value = gate / (1.0f + __expf(-gate)) * sums[1][t][i];
          from_float(value,
                     static_cast<Bf16*>(output)[static_cast<size_t>(pair) * kIntermediate + row]);
        } else {
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            const int row = row_block * kRows + warp * 32 + m * 16 + i / 2 * 8 + g;
            if (row >= kHidden) continue;
            static_cast<float*>(output)[static_cast<size_t>(pair) * kHidden + row] = sums[m][t][i];
          }
        }
      }
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
    if (static_cast<u32>(topk_ids[pair]) >= kExperts) continue;
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
