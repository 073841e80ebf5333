// Sampling without sorting. Tokens are ordered by a whole number: how far the logit lies below the
// largest, then the id. What top_k, top_p and min_p keep is all up to some number, found digit by
// digit: tokens are counted, or their weights summed, by the next digit, and the digit at which the
// sum is reached is the cut's. The blocks of a cluster share a row.
//
// Weights are whole numbers too: their sums don't depend on who adds them, so a row is drawn alike
// by one block or by eight.

#include <fib/device/cluster.h>
#include <fib/device/launch.h>
#include <fib/device/reduce.h>
#include <fib/device/shared.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::u32;
using fib::u64;

struct Shared {
  u64 counts[kBins];
  u64 weights[kBins];
  u64 warps[32];
  u64 bin, before, count;  // of the digit that was found; bin kBins: none
  u64 total;
};

__device__ __forceinline__ u64 load_from_rank(const u64& shared, int rank) {
  return fib::load_u64_from_block(fib::address_in_block(fib::shared_address(&shared), rank));
}

// The row, and the part of it that this thread sees.
struct Tokens {
  const float* logits;  // [kVocabulary] float32
  float largest;
  float scale;  // of logits, to powers of two

  // body(logit, id).
  template <class Body>
  __device__ __forceinline__ void for_each(const Body& body) const {
    const int step = gridDim.x * kThreads;
#pragma unroll 2
    for (int vector = blockIdx.x * kThreads + threadIdx.x; vector < kVectors; vector += step) {
      const auto values = fib::load<float, kWidth>(logits + vector * kWidth);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) body(values.at[i], static_cast<u32>(vector * kWidth + i));
    }
  }

  // By how many powers of two a token is less likely than the likeliest.
  __device__ __forceinline__ float below(float logit) const {
    return fminf((largest - logit) * scale, 63.0f);
  }
  // Rises from likely to unlikely tokens, of equal ones with the id. Steps of 2^-26 powers.
  static __device__ __forceinline__ u64 order(float below, u32 id) {
    return static_cast<u64>(static_cast<u32>(below * 0x1p26f)) << kIdBits | id;
  }
  // The likeliest token's is 2^44; those of a whole vocabulary add up to less than 2^63.
  static __device__ __forceinline__ u64 weight(float below) {
    return static_cast<u64>(exp2f(44.0f - below));
  }
};

// The sum over the threads up to this one; `all` becomes that over the block.
__device__ __forceinline__ u64 sum_up_to(u64 value, u64 (&warps)[32], u64& all) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int offset = 1; offset < 32; offset *= 2) {
    const u64 other = __shfl_up_sync(0xFFFFFFFFu, value, offset);
    if (lane >= offset) value += other;
  }
  __syncthreads();  // nobody reads the last call's sums any more
  if (lane == 31) warps[warp] = value;
  __syncthreads();
  all = 0;
  for (int i = 0; i < 32; ++i) {
    if (i < warp) value += warps[i];
    all += warps[i];
  }
  return value;
}

enum class Measure { kCount, kWeight };

// The order of the last token kept, if of those up to `limit` the first are kept until their counts
// or weights reach `target`; a target of weight is a share of the weight of all up to `limit`.
template <Measure kMeasure>
__device__ u64 cut_at(Shared& shared, const Tokens& tokens, u64 limit, float target) {
  u64 digits = 0, before = 0, wanted = static_cast<u64>(target);
  for (int shift = kOrderBits - kBinBits;; shift -= kBinBits) {
    shared.counts[threadIdx.x] = shared.weights[threadIdx.x] = 0;
    __syncthreads();
    tokens.for_each([&](float logit, u32 id) {
      const float below = tokens.below(logit);
      const u64 order = Tokens::order(below, id);
      if (order > limit || order >> shift >> kBinBits != digits) return;
      const int bin = static_cast<int>(order >> shift) & (kBins - 1);
      atomicAdd(&shared.counts[bin], 1ull);
      if (kMeasure == Measure::kWeight) atomicAdd(&shared.weights[bin], Tokens::weight(below));
    });
    if (threadIdx.x == 0) shared.bin = kBins;
    fib::cluster_barrier();
    // A thread a bin, in every block: all come to the same end.
    u64 count = 0, weight = 0, all = 0;
    for (int rank = 0; rank < gridDim.x; ++rank) {
      count += load_from_rank(shared.counts[threadIdx.x], rank);
      if (kMeasure == Measure::kWeight) {
        weight += load_from_rank(shared.weights[threadIdx.x], rank);
      }
    }
    const u64 size = kMeasure == Measure::kCount ? count : weight;
    const u64 end = before + sum_up_to(size, shared.warps, all);
    if (kMeasure == Measure::kWeight && shift == kOrderBits - kBinBits) {
      const double share = static_cast<double>(target) * static_cast<double>(all);
      wanted = share < 1.0 ? 1 : static_cast<u64>(share);  // one token at least
    }
    if (end - size < wanted && wanted <= end) {
      shared.bin = threadIdx.x;
      shared.before = end - size;
      shared.count = count;
    }
    fib::cluster_barrier();  // the bins have been read, too
    if (shared.bin == kBins) return limit;  // there are no more than wanted
    digits = digits << kBinBits | shared.bin;
    before = shared.before;
    if (shared.count == 1 || shift == 0) return min(limit, ((digits + 1) << shift) - 1);
  }
}

// Writes the token at `uniform` of the summed weights of the tokens up to `limit`.
__device__ void draw(Shared& shared, const Tokens& tokens, u64 limit, float uniform,
                     int likeliest, int* token_id) {
  u64 mine = 0, here = 0;
  const auto weight_of = [&](float logit, u32 id) -> u64 {
    const float below = tokens.below(logit);
    return Tokens::order(below, id) <= limit ? Tokens::weight(below) : 0;
  };
  tokens.for_each([&](float logit, u32 id) { mine += weight_of(logit, id); });
  u64 first = sum_up_to(mine, shared.warps, here) - mine;
  if (threadIdx.x == 0) shared.total = here;
  fib::cluster_barrier();
  u64 all = 0;
  for (int rank = 0; rank < gridDim.x; ++rank) {
    const u64 total = load_from_rank(shared.total, rank);
    if (rank < blockIdx.x) first += total;
    all += total;
  }
  if (all == 0) {  // logits that aren't numbers
    if (blockIdx.x == 0 && threadIdx.x == 0) *token_id = likeliest;
    return;
  }
  const u64 target = min(all - 1, static_cast<u64>(uniform * static_cast<double>(all)));
  if (target < first || target >= first + mine) return;
  u64 left = target - first;
  int drawn = -1;
  tokens.for_each([&](float logit, u32 id) {
    if (drawn >= 0) return;
    const u64 weight = weight_of(logit, id);
    if (left < weight) {
      drawn = static_cast<int>(id);
    } else {
      left -= weight;
    }
  });
  *token_id = drawn;
}

// logits [rows, kVocabulary] float32; temperature, top_p, min_p, uniform [rows] float32; top_k and
// token_ids [rows] int32. Grid: the blocks of a cluster, by rows.
__global__ void __launch_bounds__(kThreads)
    sample(const float* logits, const float* temperature, const int* top_k, const float* top_p,
           const float* min_p, const float* uniform, int* token_ids) {
  __shared__ Shared shared;
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const int row = blockIdx.y;
  Tokens tokens = {logits + static_cast<size_t>(row) * kVocabulary, 0.0f, 0.0f};

  u64 largest = 0;
  tokens.for_each(
      [&](float logit, u32 id) { largest = max(largest, fib::ordered_pair(logit, id)); });
  largest = fib::max_over_cluster(fib::max_over_block<kThreads>(largest));
  // A row with NaN has no likeliest token: -1 in its place lets a broken model be noticed.
  const int likeliest = fib::is_of_nan(largest) ? -1 : static_cast<int>(fib::index_of(largest));

  if (temperature[row] < 0x1p-20f || likeliest < 0) {  // so small a temperature counts as 0
    if (blockIdx.x == 0 && threadIdx.x == 0) token_ids[row] = likeliest;
  } else {
    tokens.largest = tokens.logits[likeliest];
    tokens.scale = 1.44269504f / temperature[row];
    u64 limit = ~0ull;
    if (top_k[row] > 0 && top_k[row] < kVocabulary) {
      limit = cut_at<Measure::kCount>(shared, tokens, limit, static_cast<float>(top_k[row]));
    }
    if (top_p[row] < 1.0f) limit = cut_at<Measure::kWeight>(shared, tokens, limit, top_p[row]);
    if (min_p[row] > 0.0f) {
      const float below = fminf(fmaxf(-log2f(min_p[row]), 0.0f), 63.0f);
      limit = min(limit, Tokens::order(below, (1u << kIdBits) - 1));
    }
    draw(shared, tokens, limit, uniform[row], likeliest, &token_ids[row]);
  }
  __syncwarp();  // one thread may have been busy drawing
  fib::cluster_barrier();  // other blocks may still be reading this one's memory
}
