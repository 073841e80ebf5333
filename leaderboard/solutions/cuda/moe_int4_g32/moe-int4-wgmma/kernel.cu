// Mixture of experts with INT4 weights for many tokens, on warpgroup instructions:
//   prepare   lists, for every expert that was chosen, its tokens in tiles; reorders the tokens
//   product   gate and up over the tiles, then silu(gate) * up            (kGateUp)
//   product   down over the tiles, one partial result a (token, choice)   (kDown)
//   combine   the weighted sum of a token's partial results, in the order of its choices
// Weights are the instructions' rows and tokens their columns, so that few tokens of an expert cost
// little. One warpgroup copies, two unpack weights in registers, times their scale and rounded to
// bf16, from where the tensor cores take them. The order of sums does not depend on where a token
// stands in the lists: the same call gives the same bits.

#include <fib/device/async_copy.h>
#include <fib/device/experts.h>
#include <fib/device/int4.h>
#include <fib/device/launch.h>
#include <fib/device/mma.h>
#include <fib/device/shared.h>
#include <fib/device/tma.h>
#include <fib/device/vector.h>
#include <fib/device/wgmma.h>

#include "shape.h"

using fib::Bf16;
using fib::u32;
using fib::u64;

#if MOE_ROUNDS_PARTIAL
using Partial = Bf16;
#else
using Partial = float;
#endif

// topk_ids [pairs] int32; the lists as in fib::ExpertTiles. hidden, reordered [tokens, kHidden]
// bf16: each step of columns in the order of column_at. Block 0 lists; the others reorder, as many
// as there are.
__global__ void __launch_bounds__(kPrepareThreads)
    prepare(const int* topk_ids, int* tile_count, int* tile_experts, int* tile_pairs, int pairs,
            int tile_tokens, const Bf16* hidden, Bf16* reordered) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  if (blockIdx.x == 0) {
    fib::list_tiles<kExperts, kPrepareThreads>(topk_ids, pairs, tile_tokens,
                                               {tile_count, tile_experts, tile_pairs});
    return;
  }
  const size_t pieces = static_cast<size_t>(pairs / kTopK) * (kHidden / 8);
  const size_t first = static_cast<size_t>(blockIdx.x - 1) * kPrepareThreads + threadIdx.x;
  for (size_t i = first; i < pieces; i += static_cast<size_t>(gridDim.x - 1) * kPrepareThreads) {
    const int position = i % (kStep / 8) * 8;
    const Bf16* const step = hidden + i * 8 - position;
    fib::Pack<Bf16, 8> piece;
#pragma unroll
    for (int n = 0; n < 8; ++n) piece.at[n] = step[column_at(position) + column_at(n)];
    fib::store(reordered + i * 8, piece);
  }
}

// The ring of stages in shared memory, and where a thread is in it.
template <int kTokens>
struct Ring {
  enum : int { kStages = stages(kTokens), kStageBytes = stage_bytes(kTokens) };
  u32 first, barriers;  // for each stage one barrier "filled" and one "freed"
  int stage;
  u32 parity;  // of the barrier this thread waits for next

  __device__ u32 at() const { return first + stage * kStageBytes; }
  __device__ u32 filled() const { return barriers + stage * 16; }
  __device__ u32 freed() const { return filled() + 8; }
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// What the blocks walk over: tile i is row block i % row_blocks of tile i / row_blocks of tokens,
// so that blocks at work share tokens, and tiles of one expert its weights, through the L2.
struct Lists {
  const int* experts;  // [tiles]
  const int* pairs;    // [tiles, tile_tokens]; -1 where a tile has no more
  int end;
};

// How many of a tile's kWidths equal parts have tokens.
template <int kTokens>
__device__ __forceinline__ int parts_of(const int* pairs) {
  int parts = 1;
#pragma unroll
  for (int i = 1; i < kWidths; ++i) parts += __ldcg(pairs + i * (kTokens / kWidths)) >= 0;
  return parts;
}

// The copying warpgroup's part. activations [rows, depth] bf16, steps in the order of column_at;
// gate and up read the token's row, down the pair's own.
template <Product kProduct, int kTokens>
__device__ __forceinline__ void copy_tiles(const Bf16* activations, const u32* packed,
                                           const Bf16* scales, const Lists& lists,
                                           Ring<kTokens>& ring) {
  constexpr int kDepth = depth_of(kProduct), kTokenRows = kTokens / 16;
  const int thread = threadIdx.x;
  const int token = thread / 8, piece = thread % 8;  // of the first copy of tokens
  for (int tile = blockIdx.x; tile < lists.end; tile += gridDim.x) {
    const int tokens_tile = tile / row_blocks(kProduct), row_block = tile % row_blocks(kProduct);
    const int* const pairs = lists.pairs + tokens_tile * kTokens;
    const int tokens = parts_of<kTokens>(pairs) * (kTokens / kWidths);
    int rows[kTokenRows];
#pragma unroll
    for (int i = 0; i < kTokenRows; ++i) {
      const int pair = __ldcg(pairs + i * 16 + token);
      rows[i] = pair < 0 || kProduct == kDown ? pair : pair / kTopK;
    }
    const size_t first_row =
        static_cast<size_t>(__ldcg(lists.experts + tokens_tile)) * weight_rows(kProduct);
    const u32* weight_from =
        packed + (first_row + weight_row(kProduct, row_block, thread / 4)) * (kDepth / 8) +
        thread % 4 * 4;
    const Bf16* scale_from =
        scales + (first_row + weight_row(kProduct, row_block, thread)) * (kDepth / kGroup);
    const Bf16* token_from = activations + piece * 8;

    for (int step = 0; step < kDepth / kStep; ++step) {
      fib::barrier_wait(ring.freed(), ring.parity);
      const u32 weights = ring.at() + token_bytes(kTokens);
#pragma unroll
      for (int i = 0; i < kBlockRows / 32; ++i) {
        fib::copy_16(weights + (i * 32 + thread / 4) * (kStep / 2) + thread % 4 * 16,
                     weight_from + rows_apart(kProduct, i * 32) * (kDepth / 8));
      }
      const u32 scale_rows = weights + kBlockRows * (kStep / 2);
#pragma unroll
      for (int i = 0; i < kBlockRows / kCopyThreads; ++i) {
        fib::copy_small<kStep / kGroup * 2>(
            scale_rows + (i * kCopyThreads + thread) * (kStep / kGroup * 2),
            scale_from + rows_apart(kProduct, i * kCopyThreads) * (kDepth / kGroup));
      }
#pragma unroll
      for (int i = 0; i < kTokenRows; ++i) {
        if (i * 16 + token >= tokens) break;
        const Bf16* const from = token_from + static_cast<size_t>(max(rows[i], 0)) * kDepth;
        const u32 to = ring.at() + fib::swizzled_piece(i * 16 + token, piece);
        fib::copy_16(to, from, rows[i] >= 0);
        fib::copy_16(to + kTokens * 128, from + 64, rows[i] >= 0);
      }
      fib::barrier_arrive_after_copies(ring.filled());
      ring.advance();
      weight_from += kStep / 8;
      scale_from += kStep / kGroup;
      token_from += kStep;
    }
  }
}

// A lane's weights in a step: of 32 columns, those of one group, in rows g and g + 8 of the warp's
// 16 rows in each of two tiles of 64.
struct LaneWeights {
  uint4 words[2][2];  // [tile][rows g, rows g + 8]
  u32 scales[2][2];   // twice in each

  __device__ __forceinline__ static u32 word(const uint4& words, int j) {
    return j == 0 ? words.x : j == 1 ? words.y : j == 2 ? words.z : words.w;
  }
  // From a stage, the warp's rows from `first_row` and from first_row + 64 on.
  __device__ __forceinline__ void load(u32 weights, int first_row) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = first_row + m * 64 + half * 8 + g;
        uint4& to = words[m][half];
        asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
                     : "r"(weights + row * (kStep / 2) + c * 16)
                     : "memory");
        fib::u16 bits;
        asm volatile("ld.shared.u16 %0, [%1];"
                     : "=h"(bits)
                     : "r"(weights + kBlockRows * (kStep / 2) + row * (kStep / kGroup * 2) + c * 2)
                     : "memory");
        scales[m][half] = bits | static_cast<u32>(bits) << 16;
      }
    }
  }
  // A of instructions 2 j and 2 j + 1: a[tile][instruction].
  __device__ __forceinline__ void unpack(int j, u32 (&a)[2][2][4]) const {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        u32 pairs[4];  // pairs[n]: columns 8 j + n and 8 j + n + 4
        fib::unpack_int4_halves(word(words[m][half], j), pairs);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          asm("mul.rn.bf16x2 %0, %1, %2;"
              : "=r"(a[m][n / 2][n % 2 * 2 + half])
              : "r"(pairs[n]), "r"(scales[m][half]));
        }
      }
    }
  }
};

// Stores 16 rows of 8 sums as bf16 to `to`, where lane l's token, l / 4, begins; nullptr where
// there is none. d as in fib::Wgmma.
__device__ __forceinline__ void store_fragment(Bf16* to, const float (&d)[4]) {
  const int lane = threadIdx.x % 32;
  // Token lane / 4; rows 2 (lane % 4), + 1, and the same + 8.
  const u32 low = fib::transpose_8x8(fib::pack_bf16(d[0], d[1]));
  const u32 high = fib::transpose_8x8(fib::pack_bf16(d[2], d[3]));
  const bool is_odd = lane % 2;
  const u32 other = __shfl_xor_sync(0xFFFFFFFFu, is_odd ? low : high, 1);
  uint2 quad;  // four neighbouring rows
  quad.x = is_odd ? other : low;
  quad.y = is_odd ? high : other;
  const int row = lane / 2 % 2 * 4 + (is_odd ? 8 : 0);
  if (to) *reinterpret_cast<uint2*>(to + row) = quad;
}

// silu(gate) * up of a warp's 16 rows beside each other, kWidth tokens. to [pairs, kIntermediate].
template <int kWidth>
__device__ __forceinline__ void store_activated(const float (&sums)[2][kWidth / 2],
                                                const int* pairs, Bf16* to) {
#pragma unroll
  for (int t = 0; t < kWidth / 8; ++t) {
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float gate = sums[0][t * 4 + i];
      values[i] = gate / (1.0f + __expf(-gate)) * sums[1][t * 4 + i];
    }
    const int pair = __ldcg(pairs + t * 8 + threadIdx.x % 32 / 4);
    store_fragment(pair < 0 ? nullptr : to + static_cast<size_t>(pair) * kIntermediate, values);
  }
}

// A warp's two times 16 rows, 64 apart. to [pairs, kHidden].
template <int kWidth>
__device__ __forceinline__ void store_partial(const float (&sums)[2][kWidth / 2], const int* pairs,
                                              Bf16* to) {
#pragma unroll
  for (int t = 0; t < kWidth / 8; ++t) {
    const int pair = __ldcg(pairs + t * 8 + threadIdx.x % 32 / 4);
    Bf16* const row = pair < 0 ? nullptr : to + static_cast<size_t>(pair) * kHidden;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float values[4] = {sums[m][t * 4], sums[m][t * 4 + 1], sums[m][t * 4 + 2],
                               sums[m][t * 4 + 3]};
      store_fragment(row ? row + m * 64 : nullptr, values);
    }
  }
}
template <int kWidth>
__device__ __forceinline__ void store_partial(const float (&sums)[2][kWidth / 2], const int* pairs,
                                              float* to) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int t = 0; t < kWidth / 8; ++t) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int pair = __ldcg(pairs + t * 8 + c * 2 + i);
      if (pair < 0) continue;
      float* const row = to + static_cast<size_t>(pair) * kHidden + g;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        row[m * 64] = sums[m][t * 4 + i];
        row[m * 64 + 8] = sums[m][t * 4 + i + 2];
      }
    }
  }
}

// A multiplying warpgroup's part of one tile of which the first kWidth tokens count.
template <Product kProduct, int kTokens, int kWidth>
__device__ __forceinline__ void multiply_tile(const int* pairs, int row_block, Ring<kTokens>& ring,
                                              void* output) {
  constexpr int kSteps = depth_of(kProduct) / kStep;
  const int warpgroup = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
  const int first_row = warpgroup * 128 + warp * 16;  // of the warp's in a stage
  float sums[2][kWidth / 2] = {};                     // of the two tiles of 64 rows
  LaneWeights weights;
  u32 a[2][2][4], next_a[2][2][4];  // [tile][instruction]

  fib::wgmma_pin(sums[0]);  // zeros too are written before the first instruction's fence
  fib::wgmma_pin(sums[1]);
  fib::barrier_wait(ring.filled(), ring.parity);
  fib::publish_to_wgmma();
  weights.load(ring.at() + token_bytes(kTokens), first_row);
  weights.unpack(0, a);
  for (int step = 0; step < kSteps; ++step) {
    const u64 tokens = fib::wgmma_tile(ring.at());
    const u32 freed = ring.freed();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) fib::wgmma_pin(a[i / 2][i % 2]);
      fib::wgmma_fence();
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int instruction = 2 * j + i;
        const u64 b = tokens + instruction / 4 * (kTokens * 128 / 16) + instruction % 4 * 2;
#pragma unroll
        for (int m = 0; m < 2; ++m) fib::Wgmma<kWidth>::bf16(sums[m], a[m][i], b, true);
      }
      fib::wgmma_commit();
      // While the tensor cores are at one word's instructions, the next word is unpacked.
      if (j < 3) {
        weights.unpack(j + 1, next_a);
      } else {
        ring.advance();
        if (step + 1 < kSteps) {
          fib::barrier_wait(ring.filled(), ring.parity);
          fib::publish_to_wgmma();
          weights.load(ring.at() + token_bytes(kTokens), first_row);
          weights.unpack(0, next_a);
        }
      }
      fib::wgmma_wait<0>();
#pragma unroll
      for (int i = 0; i < 16; ++i) a[i / 8][i / 4 % 2][i % 4] = next_a[i / 8][i / 4 % 2][i % 4];
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) fib::barrier_arrive(freed);
  }
  fib::wgmma_pin(sums[0]);
  fib::wgmma_pin(sums[1]);

  if constexpr (kProduct == kGateUp) {
    store_activated<kWidth>(
        sums, pairs,
        static_cast<Bf16*>(output) + row_block * (kBlockRows / 2) + warpgroup * 64 + warp * 16);
  } else {
    store_partial<kWidth>(sums, pairs,
                          static_cast<Partial*>(output) + row_block * kBlockRows + first_row);
  }
}

template <Product kProduct, int kTokens>
__device__ __forceinline__ void multiply_tiles(const Lists& lists, Ring<kTokens>& ring,
                                               void* output) {
  constexpr int kPart = kTokens / kWidths;
  for (int tile = blockIdx.x; tile < lists.end; tile += gridDim.x) {
    const int* const pairs = lists.pairs + tile / row_blocks(kProduct) * kTokens;
    const int row_block = tile % row_blocks(kProduct);
    if constexpr (kWidths == 1) {
      multiply_tile<kProduct, kTokens, kTokens>(pairs, row_block, ring, output);
    } else {
      switch (parts_of<kTokens>(pairs)) {
        case 1: multiply_tile<kProduct, kTokens, kPart>(pairs, row_block, ring, output); break;
        case 2: multiply_tile<kProduct, kTokens, 2 * kPart>(pairs, row_block, ring, output); break;
        case 3: multiply_tile<kProduct, kTokens, 3 * kPart>(pairs, row_block, ring, output); break;
        default: multiply_tile<kProduct, kTokens, kTokens>(pairs, row_block, ring, output);
      }
    }
  }
}

// activations [rows, depth] bf16, steps in the order of column_at; packed
// [kExperts, weight rows, depth / 8]; scales [kExperts, weight rows, depth / 32] bf16. Output
// kGateUp: [pairs, kIntermediate] bf16, as the activations; kDown: [pairs, kHidden] Partial. Blocks
// of kProductThreads, one a multiprocessor, each walking over every gridDim-th tile.
template <Product kProduct, int kTokens>
__global__ void __launch_bounds__(kProductThreads, 1)
    product(const Bf16* activations, const u32* packed, const Bf16* scales, const int* tile_count,
            const int* tile_experts, const int* tile_pairs, void* output) {
  extern __shared__ unsigned char shared[];
  __shared__ u64 barriers[2 * stages(kTokens)];
  const bool is_copying = threadIdx.x < kCopyThreads;
  Ring<kTokens> ring = {(fib::shared_address(shared) + 1023) / 1024 * 1024,
                        fib::shared_address(barriers), 0, is_copying ? 1u : 0u};
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages(kTokens); ++i) {
      fib::barrier_init(ring.barriers + i * 16, kCopyThreads);
      fib::barrier_init(ring.barriers + i * 16 + 8, kMultiplyWarps);
    }
    fib::publish_barriers();
  }
  __syncthreads();
  fib::wait_for_previous_kernel();
  fib::let_next_kernel_start();
  const Lists lists = {tile_experts, tile_pairs, __ldcg(tile_count) * row_blocks(kProduct)};
  if (is_copying) {
    fib::give_registers_back<64>();
    copy_tiles<kProduct, kTokens>(activations, packed, scales, lists, ring);
    fib::commit_copies();
    fib::wait_for_copies<0>();  // none may arrive after the thread has gone
  } else {
    fib::take_registers<216>();
    multiply_tiles<kProduct, kTokens>(lists, ring, output);
  }
}

__device__ __forceinline__ float4 load_four(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}
__device__ __forceinline__ float4 load_four(const Bf16* p) {
  const uint2 bits = *reinterpret_cast<const uint2*>(p);
  return {fib::bf16_low(bits.x), fib::bf16_high(bits.x), fib::bf16_low(bits.y),
          fib::bf16_high(bits.y)};
}

// partial [tokens, kTopK, kHidden], topk_weights [tokens, kTopK] float32, output [tokens, kHidden]
// bf16. Each thread four values; grid covers tokens * kHidden / 4.
__global__ void __launch_bounds__(256)
    combine(const Partial* partial, const int* topk_ids, const float* topk_weights, Bf16* output,
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
    const float4 value = load_four(partial + pair * kHidden + column);
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
