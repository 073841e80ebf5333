#pragma once

// Tokens grouped by the expert they were sent to. A pair is a (token, choice): pair p is token
// p / top_k's. A tile is up to tile_tokens pairs of one expert; only experts with pairs have tiles.

namespace fib {

// What list_few_tiles can do; for plan.cpp too.
enum : int { kFewPairs = 64, kFewTokens = 8 };

}  // namespace fib

#ifdef __CUDACC__

#include <fib/device/convert.h>

namespace fib {

struct ExpertTiles {
  int* count;    // [1]
  int* experts;  // [tiles]
  int* pairs;    // [tiles, tile_tokens], from the first on; -1 where a tile has no more
};

__device__ __forceinline__ int sum_up_to_lane(int value) {
  for (int offset = 1; offset < 32; offset *= 2) {
    const int other = __shfl_up_sync(0xFFFFFFFFu, value, offset);
    if (threadIdx.x % 32 >= offset) value += other;
  }
  return value;
}

// topk_ids [pairs]: the expert of each. By one block of kThreads threads, at most once a kernel. An
// id outside the kExperts counts as no choice. The order of pairs within an expert may vary from
// call to call.
template <int kExperts, int kThreads>
__device__ __forceinline__ void list_tiles(const int* topk_ids, int pairs, int tile_tokens,
                                           const ExpertTiles& tiles) {
  __shared__ int counts[kExperts];  // then the position of the expert's next pair
  __shared__ int first_tiles[kExperts];
  __shared__ int total_tiles;
  for (int e = threadIdx.x; e < kExperts; e += kThreads) counts[e] = 0;
  __syncthreads();
  for (int p = threadIdx.x; p < pairs; p += kThreads) {
    const u32 expert = topk_ids[p];
    if (expert < kExperts) atomicAdd(&counts[expert], 1);
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    int total = 0;
    for (int begin = 0; begin < kExperts; begin += 32) {
      const int expert = begin + threadIdx.x;
      const int here = expert < kExperts ? (counts[expert] + tile_tokens - 1) / tile_tokens : 0;
      const int end = total + sum_up_to_lane(here);
      if (expert < kExperts) {
        first_tiles[expert] = end - here;
        counts[expert] = 0;
      }
      for (int tile = end - here; tile < end; ++tile) tiles.experts[tile] = expert;
      total = __shfl_sync(0xFFFFFFFFu, end, 31);
    }
    if (threadIdx.x == 0) {
      total_tiles = total;
      *tiles.count = total;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < total_tiles * tile_tokens; i += kThreads) tiles.pairs[i] = -1;
  __syncthreads();
  for (int p = threadIdx.x; p < pairs; p += kThreads) {
    const u32 expert = topk_ids[p];
    if (expert >= kExperts) continue;
    const int position = atomicAdd(&counts[expert], 1);
    tiles.pairs[first_tiles[expert] * tile_tokens + position] = p;
  }
}

// The same for up to kFewPairs pairs in tiles of kFewTokens, into shared memory and cheap enough
// for every block of a kernel to do for itself. Any block of at least kFewPairs threads, all of
// them.
struct FewExpertTiles {
  int count;
  int experts[kFewPairs];
  int pairs[kFewPairs * kFewTokens];
  u32 ids[kFewPairs];
  bool is_head[kFewPairs];  // the first pair of a tile
  __device__ __forceinline__ ExpertTiles tiles() { return {&count, experts, pairs}; }
};

template <int kExperts>
__device__ __forceinline__ void list_few_tiles(const int* topk_ids, int pairs,
                                               FewExpertTiles& few) {
  const int p = threadIdx.x;
  for (int i = p; i < kFewPairs * kFewTokens; i += blockDim.x) few.pairs[i] = -1;
  if (p < pairs) few.ids[p] = __ldcg(topk_ids + p);
  __syncthreads();
  const u32 id = p < pairs ? few.ids[p] : kExperts;
  const bool is_listed = id < kExperts;
  int position = 0, head = p;  // among the expert's pairs; the first pair of p's tile
  if (is_listed) {
    for (int q = 0; q < p; ++q) {
      if (few.ids[q] != id) continue;
      if (position % kFewTokens == 0) head = q;
      ++position;
    }
    if (position % kFewTokens == 0) head = p;
  }
  if (p < pairs) few.is_head[p] = is_listed && head == p;
  const int count = __syncthreads_count(is_listed && head == p);
  if (p == 0) few.count = count;
  if (is_listed) {
    int tile = 0;
    for (int q = 0; q < head; ++q) tile += few.is_head[q];
    if (head == p) few.experts[tile] = id;
    few.pairs[tile * kFewTokens + position % kFewTokens] = p;
  }
  __syncthreads();
}

}  // namespace fib

#endif  // __CUDACC__
