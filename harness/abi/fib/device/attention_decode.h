#pragma once

// Paged GQA decode with a split KV axis (flash-decoding). A block takes a chunk of one request's
// tokens and one KV head for all query heads that share it, or 8 * kHeadTiles of them, so each K
// and V row is read once. Its warps walk tiles of 16 tokens on their own, each behind its own ring
// of asynchronous copies, and meet only at the end. Scores and sums are float32; the probabilities
// enter the tensor cores as a bf16 value plus a bf16 remainder, so that nothing is lost there. A
// second kernel merges the chunks of requests that have several.
//
// The work is cut by the plan, where the host knows the lengths, or by the kernel itself, where
// only the device does (a captured graph replayed with other lengths). Either way a kernel is an
// entry point that says where keys are:
//
//   using Decode = fib::DecodeAttention<32, 8, 128>;  // in a header that plan.cpp reads too
//
//   __global__ void __launch_bounds__(Decode::kThreads)
//       decode(const fib::Bf16* __restrict__ q, ..., const int* __restrict__ kv_indices, ...,
//              const __grid_constant__ fib::DecodeChunks chunks) {
//     Decode::attend({q, k_cache, v_cache, output, lse, partial_output, partial_lse, scale_log2},
//                    fib::PagedRows<16>{kv_indices}, chunks, first_slot);
//   }
//
// and alike decode_live around attend_live(), merge and merge_live around the functions of these
// names. The launches are fib::DecodePlanner's of <fib/plan/attention.h>, or like them. How the
// work is cut can be chosen otherwise, by a class like DecodeChoices. What a block needs on sm_90a,
// at the most, where it isn't; the merges take 31 registers and no shared memory:
//   kHeadDim  registers a thread            shared memory
//   64        72, groups above 8: 96        54 KiB
//   128       137, groups above 8: 168      102 KiB
//   256       162                           132 KiB

#ifdef __CUDACC__
#include <fib/device/async_copy.h>
#include <fib/device/attention.h>
#include <fib/device/launch.h>
#include <fib/device/mma.h>
#endif

namespace fib {

enum : int {
  kMaxDecodeChunks = 448,  // in a launch
  kMaxDecodeMerges = 320,  // in a launch
};

// The work, by value: a plan may read kv_indptr on the host, so no kernel has to search in it.
struct DecodeChunks {
  // Position of the first token, for the rows' at(position).
  unsigned begin[kMaxDecodeChunks];
  unsigned request[kMaxDecodeChunks];  // request << 15 | is the whole request << 14 | tokens
};

struct DecodeMerges {
  unsigned request[kMaxDecodeMerges];
  unsigned first_slot[kMaxDecodeMerges];
  unsigned slots[kMaxDecodeMerges];
};

// What is right for any shape is left to choose.
template <int kHeadDim>
struct DecodeChoices {
  enum : int {
    kWarps = 4,                         // a block
    kStages = kHeadDim <= 128 ? 3 : 2,  // tiles of a warp in its ring, 2 or more
    // Tokens a chunk: whole tiles for each warp, so multiples of 16 * kWarps.
    kMinChunk = 128,    // fewer aren't worth a merge
    kMostChunk = 1024,  // about, where there is more work than places for blocks; up to 8192
  };
};

// Sizes for kernels and plan.cpp alike.
template <int kHeads_, int kKvHeads_, int kHeadDim_, class Choices = DecodeChoices<kHeadDim_>>
struct DecodeAttention {
  enum : int {
    kHeads = kHeads_,
    kKvHeads = kKvHeads_,
    kHeadDim = kHeadDim_,
    kGroup = kHeads / kKvHeads,  // query heads that share a KV head
    // A block serves up to 8 * kHeadTiles of them: what the registers hold.
    kHeadTiles = kGroup > 8 && kHeadDim <= 128 ? 2 : 1,
    kBlocksPerKvHead = (kGroup + 8 * kHeadTiles - 1) / (8 * kHeadTiles),
    kHeadBlocks = kKvHeads * kBlocksPerKvHead,

    kWarps = Choices::kWarps,
    kThreads = 32 * kWarps,  // as (32, kWarps)
    kTileTokens = 16,
    kStepTokens = kTileTokens * kWarps,  // a tile for each warp
    kStages = Choices::kStages,
    kMinChunk = Choices::kMinChunk,
    kMostChunk = Choices::kMostChunk,
    kRowBytes = kHeadDim * 2 + 16,  // padded: ldmatrix without bank conflicts
    kTileBytes = kTileTokens * kRowBytes,
    kSharedBytes = kWarps * kStages * 2 * kTileBytes,
  };
  static_assert(kHeads % kKvHeads == 0 && kHeadDim % 16 == 0 && kHeadDim <= 256,
                "whole groups of query heads; head_dim a multiple of 16 up to 256");
  static_assert(kStages >= 2 && kMinChunk % kStepTokens == 0 && kMostChunk <= 8192,
                "a tile under way beside the one at work; chunks of whole tiles, in 14 bits");

#ifdef __CUDACC__
  struct Operands {
    const Bf16* q;          // [batch, kHeads, kHeadDim]
    const Bf16 *k, *v;      // [rows, kKvHeads, kHeadDim]
    Bf16* output;           // as q
    float* lse;             // [batch, kHeads], base 2
    float* partial_output;  // [slots, kHeads, kHeadDim], normalised
    float* partial_lse;     // [slots, kHeads], base 2
    float scale_log2;       // of the scores, base 2
  };

  // The work as the host cut it. Grid: chunks x kHeadBlocks, block (32, kWarps), kSharedBytes;
  // chunk i writes slot first_slot + i, or the output where it is the whole request. Rows:
  // PagedRows, or another class with int at(u32 position). A request without tokens has one chunk,
  // and gives 0, and -inf in lse.
  template <class Rows>
  __device__ __forceinline__ static void attend(const Operands& operands, const Rows& rows,
                                                const DecodeChunks& chunks, int first_slot) {
    const int index = blockIdx.x / kHeadBlocks;
    const u32 packed = chunks.request[index];
    const Chunk chunk = {chunks.begin[index], static_cast<int>(packed & 0x3FFF), packed >> 15,
                         static_cast<size_t>(first_slot + index), (packed >> 14 & 1) != 0};
    attend_chunk(operands, rows, chunk, blockIdx.x % kHeadBlocks);
  }

  // The same where only the device knows the lengths: each block cuts the requests again and finds
  // its chunk, so one grid serves every length. slots [batch]: first slot and number of slots of
  // each request, for merge_live. Grid: (places + batch) x kHeadBlocks; a chunk is a share of all
  // tokens, so there are at most that many. Lengths: PagedLengths, or another class with its
  // functions.
  template <class Rows, class Lengths>
  __device__ __forceinline__ static void attend_live(const Operands& operands, const Rows& rows,
                                                     const Lengths& lengths, int2* slots, int batch,
                                                     int places) {
    const int index = blockIdx.x / kHeadBlocks, part = blockIdx.x % kHeadBlocks;
    const int lane = threadIdx.x;
    const long long all = lengths.capacity(batch);
    const int share = static_cast<int>((all + places - 1) / places);
    const int limit = max(whole_steps(share), int{kMinChunk});

    // Each warp looks for the request that holds chunk `index`: 32 requests at a time.
    int before = 0;  // chunks of the requests passed
    for (int first = 0; first < batch; first += 32) {
      const bool is_request = first + lane < batch;
      const int tokens = is_request ? lengths.tokens(first + lane) : 0;
      const int chunks = is_request ? chunks_of(tokens, limit) : 0;
      int upto = chunks;  // of the lanes up to this one
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int lower = __shfl_up_sync(0xFFFFFFFFu, upto, step);
        if (lane >= step) upto += lower;
      }
      const unsigned after = __ballot_sync(0xFFFFFFFFu, before + upto > index);
      if (after == 0) {
        before += __shfl_sync(0xFFFFFFFFu, upto, 31);
        continue;
      }
      const int owner = __ffs(after) - 1;
      const int parts = __shfl_sync(0xFFFFFFFFu, chunks, owner);
      const int first_slot = before + __shfl_sync(0xFFFFFFFFu, upto, owner) - parts;
      const int length = __shfl_sync(0xFFFFFFFFu, tokens, owner);
      const int request = first + owner;
      // Even parts of whole tiles for each warp.
      const int step = whole_steps((length + parts - 1) / parts);
      const int from = (index - first_slot) * step;
      if (index == first_slot && part == 0 && threadIdx.y == 0 && lane == 0) {
        slots[request] = make_int2(first_slot, parts);
      }
      const u32 begin = lengths.begin(request) + from;
      const Chunk chunk = {begin, min(step, length - from), static_cast<size_t>(request),
                           static_cast<size_t>(index), parts == 1};
      attend_chunk(operands, rows, chunk, part);
      return;
    }
  }

  // Weighs the chunks of requests together. Grid: merges x kHeads, block kHeadDim, launched
  // programmatic() behind attend(). The pointers aren't __restrict__, nor may the kernel's be: the
  // launch may begin while decode still runs, and the compiler might otherwise read ahead of the
  // wait.
  __device__ __forceinline__ static void merge(const float* partial_output,
                                               const float* partial_lse, Bf16* output, float* lse,
                                               const DecodeMerges& merges) {
    wait_for_previous_kernel();
    const int entry = blockIdx.x / kHeads;
    merge_chunks(partial_output, partial_lse, output, lse, merges.request[entry],
                 merges.first_slot[entry], merges.slots[entry]);
  }

  // The same behind attend_live(). Grid: batch x kHeads, block kHeadDim.
  __device__ __forceinline__ static void merge_live(const float* partial_output,
                                                    const float* partial_lse, Bf16* output,
                                                    float* lse, const int2* slots) {
    wait_for_previous_kernel();
    const int request = blockIdx.x / kHeads;
    const int2 held = slots[request];
    if (held.y == 1) return;
    merge_chunks(partial_output, partial_lse, output, lse, request, held.x, held.y);
  }

 private:
  enum : int {
    kSteps = kHeadDim / 16,         // tensor core steps along the head dimension
    kPartialStride = kHeadDim + 4,  // floats a head: spreads the banks
    kBlockHeads = 8 * kHeadTiles,
  };
  static_assert(kWarps * kBlockHeads * (kPartialStride + 2) * 4 <= kSharedBytes,
                "the warps' shares fit into the ring");

  // A run of one request's tokens.
  struct Chunk {
    u32 begin;  // position of the first token, as in DecodeChunks
    int tokens;
    size_t request;
    size_t slot;    // of the partial results
    bool is_whole;  // the request has no other
  };

  struct HeadState {  // of two query heads: columns 2c and 2c + 1 of a tile
    float maximum[2] = {minus_infinity(), minus_infinity()};  // in powers of two
    float sum[2] = {0.0f, 0.0f};                              // of this lane's tokens
  };

  // Starts the copy of a tile's K and V rows. Lanes 0..15 know the cache row of their token.
  __device__ __forceinline__ static void start_tile(u32 stage, const Bf16* k_head,
                                                    const Bf16* v_head, int row_of_lane,
                                                    int tokens_left) {
    constexpr int kPieces = kHeadDim / 8;  // 16-byte pieces a row
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kTileTokens * kPieces / 32; ++i) {
      const int token = (i * 32 + lane) / kPieces;
      const int piece = (i * 32 + lane) % kPieces;
      const int row = __shfl_sync(0xFFFFFFFFu, row_of_lane, token);
      const size_t at = static_cast<size_t>(row) * (kKvHeads * kHeadDim) + piece * 8;
      const u32 to = stage + token * kRowBytes + piece * 16;
      copy_16(to, k_head + at, token < tokens_left);
      copy_16(to + kTileBytes, v_head + at, token < tokens_left);
    }
  }

  // Attends a chunk for one KV head and some of the query heads that share it: `part`, of
  // kHeadBlocks.
  template <class Rows>
  __device__ __forceinline__ static void attend_chunk(const Operands& operands,
                                                      const Rows& rows_of_keys, const Chunk& chunk,
                                                      int part) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int lane = threadIdx.x, warp = threadIdx.y;
    const int g = lane / 4, c = lane % 4;
    const int kv_head = part / kBlocksPerKvHead;
    const int group_begin = part % kBlocksPerKvHead * kBlockHeads;
    const int heads = min(kBlockHeads, kGroup - group_begin);
    const int first_head = kv_head * kGroup + group_begin;
    const u32 begin = chunk.begin;
    const int tokens = chunk.tokens;
    const size_t request = chunk.request;
    const int tiles = (tokens + kTileTokens - 1) / kTileTokens;
    const Bf16* k_head = operands.k + kv_head * kHeadDim;
    const Bf16* v_head = operands.v + kv_head * kHeadDim;
    const u32 ring = shared_address(shared) + warp * (kStages * 2 * kTileBytes);

    auto row_of = [&](int step) {
      const int token = (step * kWarps + warp) * kTileTokens + lane % 16;
      return token < tokens ? rows_of_keys.at(begin + token) : 0;
    };
    auto start = [&](int step, int row) {
      const int tile = step * kWarps + warp;
      if (tile < tiles) {
        start_tile(ring + step % kStages * (2 * kTileBytes), k_head, v_head, row,
                   tokens - tile * kTileTokens);
      }
      commit_copies();  // an empty group keeps the count
    };

    int rows[kStages];
#pragma unroll
    for (int i = 0; i < kStages; ++i) rows[i] = row_of(i);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) start(i, rows[i]);
    int next_row = rows[kStages - 1];

    // Query fragments: column g is a head; heads beyond the group are zero.
    u32 query[kHeadTiles][kSteps][2];
#pragma unroll
    for (int t = 0; t < kHeadTiles; ++t) {
      const int head = t * 8 + g;
      const u32* from = reinterpret_cast<const u32*>(
          operands.q + (request * kHeads + first_head + (head < heads ? head : 0)) * kHeadDim);
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        query[t][s][0] = head < heads ? __ldg(from + s * 8 + c) : 0;
        query[t][s][1] = head < heads ? __ldg(from + s * 8 + 4 + c) : 0;
      }
    }

    HeadState state[kHeadTiles];
    float sums[kHeadTiles][kSteps][4] = {};  // O transposed: rows are dimensions, columns heads
    // Addresses of ldmatrix: K rows as they are, V transposed.
    const u32 k_lane = (lane % 8 + lane / 8 % 2 * 8) * kRowBytes + lane / 16 * 16;
    const u32 v_lane = kTileBytes + (lane % 8 + lane / 16 * 8) * kRowBytes + lane / 8 % 2 * 16;

    for (int step = 0; step * kWarps + warp < tiles; ++step) {
      wait_for_copies<kStages - 2>();
      __syncwarp();
      start(step + kStages - 1, next_row);
      next_row = row_of(step + kStages);
      const u32 stage = ring + step % kStages * (2 * kTileBytes);

      float scores[kHeadTiles][4] = {};  // rows are tokens, columns heads
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        u32 k[4];
        ldmatrix(k, stage + k_lane + s * 32);
#pragma unroll
        for (int t = 0; t < kHeadTiles; ++t) {
          mma_bf16(scores[t], k, query[t][s][0], query[t][s][1]);
        }
      }

      const int left = tokens - (step * kWarps + warp) * kTileTokens;
      u32 p_high[kHeadTiles][2], p_low[kHeadTiles][2];
#pragma unroll
      for (int t = 0; t < kHeadTiles; ++t) {
        float p[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          p[i] = g + i / 2 * 8 < left ? scores[t][i] * operands.scale_log2 : minus_infinity();
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float maximum = fmaxf(p[j], p[j + 2]);
          maximum = fmaxf(maximum, __shfl_xor_sync(0xFFFFFFFFu, maximum, 4));
          maximum = fmaxf(maximum, __shfl_xor_sync(0xFFFFFFFFu, maximum, 8));
          maximum = fmaxf(maximum, __shfl_xor_sync(0xFFFFFFFFu, maximum, 16));
          maximum = fmaxf(maximum, state[t].maximum[j]);  // finite: a tile has a token
          const float shrink = exp2_fast(state[t].maximum[j] - maximum);
          p[j] = exp2_fast(p[j] - maximum);
          p[j + 2] = exp2_fast(p[j + 2] - maximum);
          state[t].maximum[j] = maximum;
          state[t].sum[j] = state[t].sum[j] * shrink + (p[j] + p[j + 2]);
#pragma unroll
          for (int s = 0; s < kSteps; ++s) {
            sums[t][s][j] *= shrink;
            sums[t][s][j + 2] *= shrink;
          }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float x = p[half * 2], y = p[half * 2 + 1];
          const u32 high = pack_bf16(x, y);
          const u32 low = pack_bf16(x - bf16_low(high), y - bf16_high(high));
          p_high[t][half] = transpose_8x8(high);
          p_low[t][half] = transpose_8x8(low);
        }
      }
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        u32 v[4];
        ldmatrix_transposed(v, stage + v_lane + s * 32);
#pragma unroll
        for (int t = 0; t < kHeadTiles; ++t) {
          mma_bf16(sums[t][s], v, p_high[t][0], p_high[t][1]);
          mma_bf16(sums[t][s], v, p_low[t][0], p_low[t][1]);
        }
      }
    }

    // Put the warps' shares together.
    wait_for_copies<0>();
    __syncthreads();
    let_next_kernel_start();
    float* const share_sums = reinterpret_cast<float*>(shared);
    float* const share_maximum = share_sums + kWarps * kBlockHeads * kPartialStride;
    float* const share_sum = share_maximum + kWarps * kBlockHeads;
#pragma unroll
    for (int t = 0; t < kHeadTiles; ++t) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float sum = state[t].sum[j];
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 4);
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 8);
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 16);
        const int row = warp * kBlockHeads + t * 8 + c * 2 + j;
        if (g == 0) {
          share_maximum[row] = state[t].maximum[j];
          share_sum[row] = sum;
        }
#pragma unroll
        for (int s = 0; s < kSteps; ++s) {
          share_sums[row * kPartialStride + s * 16 + g] = sums[t][s][j];
          share_sums[row * kPartialStride + s * 16 + 8 + g] = sums[t][s][j + 2];
        }
      }
    }
    __syncthreads();
    for (int i = warp * 32 + lane; i < heads * kHeadDim; i += 32 * kWarps) {
      const int head = i / kHeadDim, dim = i % kHeadDim;
      float maximum = minus_infinity();
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        maximum = fmaxf(maximum, share_maximum[w * kBlockHeads + head]);
      }
      float value = 0.0f, sum = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const int row = w * kBlockHeads + head;
        // A warp without tokens has maximum -inf; without any token all have, and the sum is 0.
        const float weight = share_sum[row] > 0.0f ? exp2_fast(share_maximum[row] - maximum) : 0.0f;
        value += weight * share_sums[row * kPartialStride + dim];
        sum += weight * share_sum[row];
      }
      value = tokens > 0 ? value / sum : 0.0f;
      const float log_sum = tokens > 0 ? maximum + log2f(sum) : minus_infinity();
      if (chunk.is_whole) {
        const size_t to = request * kHeads + first_head + head;
        from_float(value, operands.output[to * kHeadDim + dim]);
        if (dim == 0) operands.lse[to] = log_sum;
      } else {
        const size_t to = chunk.slot * kHeads + first_head + head;
        operands.partial_output[to * kHeadDim + dim] = value;
        if (dim == 0) operands.partial_lse[to] = log_sum;
      }
    }
  }

  // Of a request: head blockIdx.x % kHeads, dimension threadIdx.x.
  __device__ __forceinline__ static void merge_chunks(const float* partial_output,
                                                      const float* partial_lse, Bf16* output,
                                                      float* lse, size_t request, size_t first_slot,
                                                      int slots) {
    const int head = blockIdx.x % kHeads, dim = threadIdx.x;
    const size_t first = first_slot * kHeads + head;
    float maximum = minus_infinity();
    for (int i = 0; i < slots; ++i) {
      maximum = fmaxf(maximum, partial_lse[first + static_cast<size_t>(i) * kHeads]);
    }
    float value = 0.0f, sum = 0.0f;
#pragma unroll 4
    for (int i = 0; i < slots; ++i) {
      const size_t at = first + static_cast<size_t>(i) * kHeads;
      const float weight = exp2_fast(partial_lse[at] - maximum);
      value += weight * partial_output[at * kHeadDim + dim];
      sum += weight;
    }
    const size_t to = request * kHeads + head;
    from_float(value / sum, output[to * kHeadDim + dim]);
    if (dim == 0) lse[to] = maximum + log2f(sum);
  }

  __device__ __forceinline__ static int chunks_of(int tokens, int limit) {
    return tokens == 0 ? 1 : (tokens + limit - 1) / limit;
  }
  __device__ __forceinline__ static int whole_steps(int tokens) {
    return (tokens + kStepTokens - 1) / kStepTokens * kStepTokens;
  }
#endif  // __CUDACC__
};

}  // namespace fib
