#pragma once

// Causal GQA prefill by tiles with an online softmax (flash attention), over keys that lie
// anywhere. A block takes one KV head and a run of one request's query tokens, for all query heads
// that share that KV head: 16 rows a warp, a row a token and head. Keys and values pass by in
// tiles, copied one ahead; a block stops at the last key that its last token sees. Scores and sums
// are float32; the probabilities are rounded to bf16 on their way into the tensor cores.
//
// A kernel is an entry point around attend(), which says where keys are:
//
//   using Prefill = fib::PrefillAttention<32, 8, 128>;  // in a header that plan.cpp reads too
//
//   template <int kWarps>
//   __global__ void __launch_bounds__(32 * kWarps)
//       prefill(const fib::Bf16* __restrict__ q, ..., const int* __restrict__ kv_indices, ...,
//               const __grid_constant__ fib::PrefillRequests requests) {
//     Prefill::attend<kWarps>({q, k, v, output, lse, scale_log2}, fib::PagedRows<16>{kv_indices},
//                             num_tiles, num_requests, requests);
//   }
//
// Its launches are fib::plan_prefill's of <fib/plan/attention.h>, or like them: grid tiles x
// kKvHeads, block 32 * kWarps (4 or 8 warps), kSharedBytes of dynamic shared memory. What a block
// needs on sm_90a:
//   kHeadDim  registers a thread          shared memory
//   64        128 to 141                  36 KiB
//   128       206 to 227                  68 KiB
//   256       255, up to 100 bytes spill  66 KiB

#ifdef __CUDACC__
#include <fib/device/async_copy.h>
#include <fib/device/attention.h>
#include <fib/device/mma.h>
#endif

namespace fib {

enum : int { kMaxPrefillRequests = 160 };  // in a launch

// The work, by value: the plan reads the offsets on the host. Requests without queries aren't
// listed.
struct PrefillRequests {
  int first_tile[kMaxPrefillRequests];
  int first_query[kMaxPrefillRequests];  // row of q
  int queries[kMaxPrefillRequests];
  int keys[kMaxPrefillRequests];
  // Of the first key, for the rows' at(first, token): index into kv_indices, or the row of k and v.
  int first_key[kMaxPrefillRequests];
};

// Sizes for kernels and plan.cpp alike.
template <int kHeads_, int kKvHeads_, int kHeadDim_>
struct PrefillAttention {
  enum : int {
    kHeads = kHeads_,
    kKvHeads = kKvHeads_,
    kHeadDim = kHeadDim_,
    kGroup = kHeads / kKvHeads,  // query heads that share a KV head
    kTileKeys = kHeadDim <= 128 ? 64 : 32,
    kRowBytes = kHeadDim * 2 + 16,  // padded: ldmatrix without bank conflicts
    kTileBytes = kTileKeys * kRowBytes,
    kStages = 2,
    kSharedBytes = kStages * 2 * kTileBytes,
  };
  static_assert(kHeads % kKvHeads == 0 && kGroup <= 64 && kHeadDim % 16 == 0 && kHeadDim <= 256,
                "whole groups of up to 64 query heads; head_dim a multiple of 16 up to 256");

  // A block of `warps` warps serves so many query tokens: 16 rows a warp, a row a token and head.
  static constexpr int tile_tokens(int warps) { return warps * 16 / kGroup; }

#ifdef __CUDACC__
  struct Operands {
    const Bf16* q;      // [total_q, kHeads, kHeadDim]
    const Bf16 *k, *v;  // [rows, kKvHeads, kHeadDim]
    Bf16* output;       // as q
    float* lse;         // [total_q, kHeads], base 2
    float scale_log2;   // of the scores, base 2
  };

  // By all threads of the block. Rows: PagedRows, RaggedRows, or another class with
  // int at(int first_key, int token). A query that sees no key gives 0, and -inf in lse.
  template <int kWarps, class Rows>
  __device__ __forceinline__ static void attend(const Operands& operands, const Rows& rows_of_keys,
                                                int num_tiles, int num_requests,
                                                const PrefillRequests& requests) {
    constexpr int kThreads = 32 * kWarps;
    constexpr int kSteps = kHeadDim / 16;     // tensor core steps along the head dimension
    constexpr int kKeyTiles = kTileKeys / 8;  // tensor core tiles along the keys
    constexpr int kPieces = kHeadDim / 8;     // 16-byte pieces a row
    constexpr int kCopies = (kTileKeys * kPieces + kThreads - 1) / kThreads;  // a thread, K or V
    extern __shared__ __align__(128) unsigned char shared[];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int g = lane / 4, c = lane % 4;
    const int kv_head = blockIdx.x % kKvHeads;
    const float scale_log2 = operands.scale_log2;
    // The last tiles first: they have the most to do.
    const Tile tile = find_tile(requests, num_requests, num_tiles - 1 - blockIdx.x / kKvHeads,
                                tile_tokens(kWarps));
    const int keys = tile.visible + tile.tokens - 1;  // that the last token sees
    const int tiles = keys > 0 ? (keys + kTileKeys - 1) / kTileKeys : 0;
    const Bf16* const k_head = operands.k + kv_head * kHeadDim;
    const Bf16* const v_head = operands.v + kv_head * kHeadDim;
    const u32 buffers = shared_address(shared);

    // The cache rows of this thread's copies, looked up a tile before they are needed.
    int rows[kCopies];
    auto look_up = [&](int index) {
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int key = index * kTileKeys + (i * kThreads + thread) / kPieces;
        rows[i] = key < keys ? rows_of_keys.at(tile.first_key, key) : 0;
      }
    };
    auto start_copies = [&](int index) {
      const u32 stage = buffers + index % kStages * (2 * kTileBytes);
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int at = i * kThreads + thread;
        const int key = at / kPieces, piece = at % kPieces;
        if (kTileKeys * kPieces % kThreads != 0 && key >= kTileKeys) break;
        const bool is_inside = index * kTileKeys + key < keys;
        const size_t from = static_cast<size_t>(rows[i]) * (kKvHeads * kHeadDim) + piece * 8;
        const u32 to = stage + key * kRowBytes + piece * 16;
        copy_16(to, k_head + from, is_inside);
        copy_16(to + kTileBytes, v_head + from, is_inside);
      }
      commit_copies();
    };
    if (tiles > 0) {
      look_up(0);
      start_copies(0);
      look_up(1);
    }

    // This lane's rows: g and g + 8 of its warp. Rows beyond the tile are computed and not written.
    int token[2];
    size_t head_row[2];  // of q, output and lse, counted in heads
    bool is_row[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = warp * 16 + g + r * 8;
      token[r] = row / kGroup;
      is_row[r] = token[r] < tile.tokens;
      head_row[r] = static_cast<size_t>(tile.first_query + token[r]) * kHeads + kv_head * kGroup +
                    row % kGroup;
    }
    u32 query[kSteps][4];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const u32* from =
          reinterpret_cast<const u32*>(operands.q + (is_row[r] ? head_row[r] : 0) * kHeadDim);
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        query[s][r] = is_row[r] ? __ldg(from + s * 8 + c) : 0;
        query[s][r + 2] = is_row[r] ? __ldg(from + s * 8 + 4 + c) : 0;
      }
    }

    float maximum[2] = {minus_infinity(), minus_infinity()};  // of the scores, unscaled
    float sum[2] = {0.0f, 0.0f};                              // this lane's share
    float sums[2 * kSteps][4] = {};                           // rows are rows, columns dimensions
    // Addresses of ldmatrix: 16 keys by 16 dimensions, K as it is, V transposed.
    const u32 k_lane = (lane % 8 + lane / 16 * 8) * kRowBytes + lane / 8 % 2 * 16;
    const u32 v_lane = kTileBytes + (lane % 8 + lane / 8 % 2 * 8) * kRowBytes + lane / 16 * 16;

    for (int index = 0; index < tiles; ++index) {
      wait_for_copies<0>();
      __syncthreads();  // the tile is there, and everybody is done with the one before
      if (index + 1 < tiles) {
        start_copies(index + 1);
        look_up(index + 2);
      }
      const u32 stage = buffers + index % kStages * (2 * kTileBytes);

      float scores[kKeyTiles][4] = {};
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int j = 0; j < kKeyTiles; j += 2) {
          u32 key[4];
          ldmatrix(key, stage + k_lane + j * 8 * kRowBytes + s * 32);
          mma_bf16(scores[j], query[s], key[0], key[1]);
          mma_bf16(scores[j + 1], query[s], key[2], key[3]);
        }
      }

      const int first_key = index * kTileKeys;
      if (first_key + kTileKeys > tile.visible) {
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int position = first_key + j * 8 + c * 2 + i % 2;
            if (position >= tile.visible + token[i / 2]) scores[j][i] = minus_infinity();
          }
        }
      }

#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float highest = maximum[r];
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
          highest = fmaxf(highest, fmaxf(scores[j][r * 2], scores[j][r * 2 + 1]));
        }
        highest = row_maximum(highest);
        // A row that has seen no key yet has only -inf.
        const float base = highest == minus_infinity() ? 0.0f : highest * scale_log2;
        const float shrink = exp2_fast(maximum[r] * scale_log2 - base);
        maximum[r] = highest;
        sum[r] *= shrink;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
          for (int i = r * 2; i < r * 2 + 2; ++i) {
            scores[j][i] = exp2_fast(scores[j][i] * scale_log2 - base);
            sum[r] += scores[j][i];
          }
        }
#pragma unroll
        for (int d = 0; d < 2 * kSteps; ++d) {
          sums[d][r * 2] *= shrink;
          sums[d][r * 2 + 1] *= shrink;
        }
      }

#pragma unroll
      for (int j = 0; j < kKeyTiles; j += 2) {
        const u32 weights[4] = {pack_bf16(scores[j][0], scores[j][1]),
                                pack_bf16(scores[j][2], scores[j][3]),
                                pack_bf16(scores[j + 1][0], scores[j + 1][1]),
                                pack_bf16(scores[j + 1][2], scores[j + 1][3])};
#pragma unroll
        for (int s = 0; s < kSteps; ++s) {
          u32 value[4];
          ldmatrix_transposed(value, stage + v_lane + j * 8 * kRowBytes + s * 32);
          mma_bf16(sums[2 * s], weights, value[0], value[1]);
          mma_bf16(sums[2 * s + 1], weights, value[2], value[3]);
        }
      }
    }

#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float total = row_sum(sum[r]);
      if (!is_row[r]) continue;
      const float inverse = total > 0.0f ? 1.0f / total : 0.0f;  // 0: the row sees no key
      u32* const to = reinterpret_cast<u32*>(operands.output + head_row[r] * kHeadDim);
#pragma unroll
      for (int d = 0; d < 2 * kSteps; ++d) {
        to[d * 4 + c] = pack_bf16(sums[d][r * 2] * inverse, sums[d][r * 2 + 1] * inverse);
      }
      if (c == 0) {
        operands.lse[head_row[r]] =
            total > 0.0f ? maximum[r] * scale_log2 + log2f(total) : minus_infinity();
      }
    }
  }

 private:
  // Over the four lanes that hold a row.
  __device__ __forceinline__ static float row_maximum(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
  }
  __device__ __forceinline__ static float row_sum(float x) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
  }

  // What the block attends.
  struct Tile {
    int first_query;  // row of q
    int tokens;
    int visible;    // keys that the first token sees; each further token sees one more
    int first_key;  // as in PrefillRequests
  };

  __device__ __forceinline__ static Tile find_tile(const PrefillRequests& requests, int count,
                                                   int index, int tokens_a_tile) {
    int low = 0, high = count - 1;  // the last request that begins at or before the tile
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (requests.first_tile[middle] <= index) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const int from = (index - requests.first_tile[low]) * tokens_a_tile;
    const int left = requests.queries[low] - from;
    return {requests.first_query[low] + from, min(left, tokens_a_tile),
            requests.keys[low] - left + 1, requests.first_key[low]};
  }
#endif  // __CUDACC__
};

}  // namespace fib
