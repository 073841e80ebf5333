// Sampling without sorting. Tokens are ordered by a whole number: how far the logit lies below the
// largest, then the id. What top_k, top_p and min_p keep are the first of this order, and a draw is
// the last token before which less than a random share of the weight lies. So all is one question,
// asked up to three times: how far do limits on count, weight and order reach?
//
// The blocks of a cluster share a row and read it once, into shared memory. They count and weigh
// the tokens by the first digit of their order. The answer to a question lies in one of these bins;
// its tokens, mostly some dozens, are compared each with each. Were they many, they would be told
// apart by the next digit.
//
// Weights are whole numbers too: their sums don't depend on who adds them, or when.

#include <fib/device/async_copy.h>
#include <fib/device/cluster.h>
#include <fib/device/launch.h>
#include <fib/device/reduce.h>
#include <fib/device/shared.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::u32;
using fib::u64;

enum : int { kWarps = kThreads / 32, kTopShift = kOrderBits - kBinBits };

// A token's key is by how many powers of two it is less likely than the likeliest: 40 make 2^32.
// Those beyond are never drawn: a vocabulary of them weighs less than float32 sums are off by.
enum : u32 { kBeyond = 0xFFFFFF00u };

__device__ __forceinline__ u32 key_of(float powers) {  // of NaN: kBeyond
  return static_cast<u32>(fminf(powers * (0x1p32f / 40), 0x1.fffffep31f));
}
__device__ __forceinline__ u64 order_of(u32 key, u32 id) {
  return static_cast<u64>(key) << kIdBits | id;
}
// The likeliest token's is 2^44; those of a whole vocabulary add up to less than 2^63.
__device__ __forceinline__ u64 weight_of(u32 key) {
  return static_cast<u64>(exp2f(44.0f - static_cast<float>(key) * (40 * 0x1p-32f)));
}

struct Sum {
  u64 weight;
  u32 count;

  __device__ __forceinline__ Sum& operator+=(const Sum& other) {
    weight += other.weight;
    count += other.count;
    return *this;
  }
};

enum Question : int { kTopK, kTopPAndMinP, kDraw, kQuestions };

// A question: tokens are kept before which less than this lies, up to an order.
struct Limits {
  u64 weight = ~0ull;
  u32 count = ~0u;
  u64 order = order_of(kBeyond, 0) - 1;

  __device__ __forceinline__ bool keep(const Sum& before, u64 at) const {
    return before.count < count && before.weight < weight && at <= order;
  }
};

struct Token {
  u64 order, weight;
};

struct List {
  u32 count;
  u64 orders[kFew];
};

struct Shared {
  u64 largest;  // as an ordered pair
  u64 digits;   // with which the orders in the bins begin
  int shift;    // of the digit that tells their bin
  // The weights' halves. Beyond the bins, a lane's own for what belongs to none.
  u32 counts[kBins + 32], low[kBins + 32], high[kBins + 32];
  Sum before[kBins + 1];  // each bin, in the whole row
  Sum warps[kWarps];
  List lists[kQuestions];  // of each question's last bin, this block's tokens
  Token few[kFew];         // those of all blocks
  Token last;              // that is kept, with all weight up to it
};
// Not passed on by address, which wouldn't tell the compiler that it is shared memory.
__shared__ Shared shared;
// This block's part of the row: logits at first, then keys in their place.
extern __shared__ __align__(16) u32 values[];

// A barrier that waits for no memory.
__device__ __forceinline__ void blocks_meet() {
  __syncwarp();
  asm volatile(
      "barrier.cluster.arrive.relaxed.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}
// What they wrote to shared memory before is seen after. One thread's fence speaks for all after
// the block's own barrier; at fib::cluster_barrier each thread waits for its own.
__device__ __forceinline__ void blocks_exchange() {
  __syncthreads();
  if (threadIdx.x == 0) asm volatile("fence.acq_rel.cluster;" ::: "memory");
  blocks_meet();
}

__device__ __forceinline__ u32 load_from_rank(const u32& shared, int rank) {
  u32 value;
  asm volatile("ld.shared::cluster.u32 %0, [%1];"
               : "=r"(value)
               : "r"(fib::address_in_block(fib::shared_address(&shared), rank))
               : "memory");
  return value;
}
__device__ __forceinline__ u64 load_from_rank(const u64& shared, int rank) {
  return fib::load_u64_from_block(fib::address_in_block(fib::shared_address(&shared), rank));
}

// body(values, id of the first), for each access of this thread to shared memory.
using Values = fib::Pack<u32, kWidth>;
template <class Body>
__device__ __forceinline__ void for_each_access(const Body& body) {
  const int first = blockIdx.x * kVectorsABlock;
  const int vectors = min(kVectorsABlock, kVectors - first);
#pragma unroll 1
  for (int vector = threadIdx.x; vector < vectors; vector += kThreads) {
    body(reinterpret_cast<Values*>(values)[vector], static_cast<u32>((first + vector) * kWidth));
  }
}

__device__ __forceinline__ void load_part(const float* row) {
  for_each_access([&](Values& part, u32 id) {
    if constexpr (kWidth == 4) {
      fib::copy_16(fib::shared_address(&part), row + id);
    } else {
      fib::copy_small<kWidth * 4>(fib::shared_address(&part), row + id);
    }
  });
  fib::commit_copies();
  fib::wait_for_copies<0>();  // each thread reads what it has copied: no barrier
}

__device__ __forceinline__ float value_of(u64 ordered_pair) {
  const u32 bits = static_cast<u32>(ordered_pair >> 32);
  return __uint_as_float(bits & 0x80000000u ? bits ^ 0x80000000u : ~bits);
}
// The largest logit of the row and its first id, as an ordered pair.
__device__ __forceinline__ u64 find_largest() {
  u32 bits = 0, id = 0;
  for_each_access([&](const Values& part, u32 first_id) {
    const Values logits = part;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const u32 logit_bits = fib::ordered_bits(__uint_as_float(logits.at[i]));
      if (logit_bits > bits) bits = logit_bits, id = first_id + i;
    }
  });
  u64 largest = fib::max_over_block<kThreads>(static_cast<u64>(bits) << 32 | (0xFFFFFFFFu - id));
  if (threadIdx.x == 0) shared.largest = largest;
  blocks_exchange();
#pragma unroll
  for (int rank = 0; rank < kBlocks; ++rank) {
    largest = max(largest, load_from_rank(shared.largest, rank));
  }
  return largest;
}

// Bins for orders that begin with `digits`, by their digit at `shift`.
__device__ __forceinline__ void clear_bins(u64 digits, int shift) {
  if (threadIdx.x == 0) shared.digits = digits, shared.shift = shift;
  shared.counts[threadIdx.x] = shared.low[threadIdx.x] = shared.high[threadIdx.x] = 0;
}

__device__ __forceinline__ void add_to_bins(const Values& keys, u32 id, u64 digits, int shift) {
  u32 bins[kWidth], highs[kWidth];
  u64 weights[kWidth];
  bool is_any_high = false;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const u64 digit = order_of(keys.at[i], id + i) >> shift;
    const bool is_in = keys.at[i] < kBeyond && digit >> kBinBits == digits;
    bins[i] = is_in ? static_cast<u32>(digit) % kBins : kBins + threadIdx.x % 32;
    weights[i] = weight_of(keys.at[i]);
  }
  // Shared memory has no additions of 64 bits. Nothing here waits for the token before.
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const u32 low = static_cast<u32>(weights[i]);
    const bool carry = atomicAdd(&shared.low[bins[i]], low) > ~low;
    atomicAdd(&shared.counts[bins[i]], 1u);
    highs[i] = static_cast<u32>(weights[i] >> 32) + carry;
    is_any_high |= highs[i] != 0;
  }
  if (!is_any_high) return;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    if (highs[i] != 0) atomicAdd(&shared.high[bins[i]], highs[i]);
  }
}

// Once all tokens are in their bins: what lies before each. Before the first it is `before`.
__device__ __forceinline__ void sum_bins(const Sum& before) {
  const auto load_bin = [&](int bin, int rank) -> Sum {
    const u64 high = load_from_rank(shared.high[bin], rank);
    return {(high << 32) + load_from_rank(shared.low[bin], rank),
            load_from_rank(shared.counts[bin], rank)};
  };
  constexpr int kShare = kBins / kBlocks;
  blocks_exchange();
  if (threadIdx.x < kShare) {  // each block adds up some bins, then each takes the sums of all
    const int bin = blockIdx.x * kShare + threadIdx.x;
    Sum sum = {};
#pragma unroll
    for (int rank = 0; rank < kBlocks; ++rank) sum += load_bin(bin, rank);
    shared.low[bin] = static_cast<u32>(sum.weight);
    shared.high[bin] = static_cast<u32>(sum.weight >> 32);
    shared.counts[bin] = sum.count;
  }
  blocks_exchange();
  Sum end = load_bin(threadIdx.x, threadIdx.x / kShare);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const Sum other = {__shfl_up_sync(0xFFFFFFFFu, end.weight, offset),
                       __shfl_up_sync(0xFFFFFFFFu, end.count, offset)};
    if (lane >= offset) end += other;
  }
  if (lane == 31) shared.warps[warp] = end;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kWarps - 1; ++i) {
    if (i < warp) end += shared.warps[i];
  }
  end += before;
  if (threadIdx.x == 0) shared.before[0] = before;
  shared.before[threadIdx.x + 1] = end;
  __syncthreads();
}

// Other bins. Not inlined, nor is keep(): code has to be fetched from memory, too.
__device__ __noinline__ void look_at(u64 digits, int shift, Sum before) {
  blocks_meet();  // others may still be reading the bins
  clear_bins(digits, shift);
  __syncthreads();
  for_each_access([&](const Values& keys, u32 id) { add_to_bins(keys, id, digits, shift); });
  sum_bins(before);
}

// Brings all blocks' tokens whose orders begin with `beginning` together, `size` of them and few.
__device__ __forceinline__ void collect(List& list, u64 beginning, int shift, u32 size) {
  const u32 first_key = static_cast<u32>(beginning << shift >> kIdBits);
  const u32 last_key =
      min(static_cast<u32>(((beginning + 1) << shift) - 1 >> kIdBits), kBeyond - 1);
  for_each_access([&](const Values& part, u32 id) {
    const Values keys = part;
    bool is_any = false;  // one branch: most often none is
#pragma unroll
    for (int i = 0; i < kWidth; ++i) is_any |= keys.at[i] - first_key <= last_key - first_key;
    if (!is_any) return;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const u64 order = order_of(keys.at[i], id + i);
      if (order >> shift == beginning && keys.at[i] < kBeyond) {
        list.orders[atomicAdd(&list.count, 1u)] = order;
      }
    }
  });
  blocks_exchange();
  if (threadIdx.x < size) {
    u32 at = threadIdx.x;
    int rank = 0;
#pragma unroll
    for (int i = 0; i < kBlocks - 1; ++i) {
      const u32 count = load_from_rank(list.count, i);
      if (rank == i && at >= count) at -= count, rank = i + 1;
    }
    const u64 order = load_from_rank(list.orders[at], rank);
    shared.few[threadIdx.x] = {order, weight_of(static_cast<u32>(order >> kIdBits))};
  }
  __syncthreads();
}

// The last token that is kept, with the weight of all that are. Each question is asked once.
__device__ __noinline__ Token keep(Question question, Limits limits) {
  if (shared.shift != kTopShift) look_at(0, kTopShift, {});
  u64 beginning;  // of the orders in the last bin that is reached
  Sum before;     // it
  u32 size;
  int shift;
  for (;;) {  // until they are few
    const u64 digits = shared.digits;
    shift = shared.shift;
    const u64 mine = digits << kBinBits | threadIdx.x;
    const int bin = __syncthreads_count(limits.keep(shared.before[threadIdx.x], mine << shift)) - 1;
    beginning = digits << kBinBits | static_cast<u32>(bin);
    before = shared.before[bin];
    size = shared.before[bin + 1].count - before.count;
    if (size <= kFew) break;
    look_at(beginning, shift - kBinBits, before);
  }
  collect(shared.lists[question], beginning, shift, size);

  bool is_kept = false;  // a thread a token
  Token token = {};
  Sum before_token = before;
  if (threadIdx.x < size) {
    token = shared.few[threadIdx.x];
#pragma unroll 4
    for (u32 i = 0; i < size; ++i) {
      const Token other = shared.few[i];
      if (other.order < token.order) before_token += {other.weight, 1};
    }
    is_kept = limits.keep(before_token, token.order);
  }
  const u32 num_kept = __syncthreads_count(is_kept);
  if (is_kept && before_token.count + 1 == before.count + num_kept) {
    shared.last = {token.order, before_token.weight + token.weight};
  }
  if (num_kept == 0 && threadIdx.x == 0) shared.last = {0, before.weight};
  __syncthreads();
  return shared.last;
}

// logits [rows, kVocabulary] float32; temperature, top_p, min_p, uniform [rows] float32; top_k and
// token_ids [rows] int32. Grid: the blocks of a cluster, by rows.
__global__ void __launch_bounds__(kThreads, 2)
    sample(const float* logits, const float* temperature, const int* top_k, const float* top_p,
           const float* min_p, const float* uniform, int* token_ids) {
  fib::let_next_kernel_start();
  clear_bins(0, kTopShift);
  if (threadIdx.x < kQuestions) shared.lists[threadIdx.x].count = 0;
  fib::wait_for_previous_kernel();
  const int index = blockIdx.y;
  const float heat = temperature[index], mass = top_p[index], least = min_p[index];
  const int tokens = top_k[index];
  const double place = uniform[index];
  load_part(logits + static_cast<size_t>(index) * kVocabulary);

  // A row with NaN has no likeliest token: -1 in its place lets a broken model be noticed.
  const u64 largest = find_largest();
  const float logit = value_of(largest);
  const float scale = 1.44269504f / heat;  // of logits, to powers of two
  int drawn = fib::is_of_nan(largest) ? -1 : static_cast<int>(fib::index_of(largest));
  // So small a temperature counts as 0. Of infinite logits the largest is taken, too.
  if (!(heat < 0x1p-20f || drawn < 0 || key_of((logit - logit) * scale) != 0)) {
    for_each_access([&](Values& part, u32 id) {
      Values keys = part;
#pragma unroll
      for (u32& value : keys.at) value = key_of((logit - __uint_as_float(value)) * scale);
      part = keys;
      add_to_bins(keys, id, 0, kTopShift);
    });
    sum_bins({});
    u64 all = shared.before[kBins].weight;
    Limits limits;
    if (tokens > 0 && tokens < kVocabulary) {
      limits.count = static_cast<u32>(tokens);
      all = keep(kTopK, limits).weight;
    }
    if (mass < 1.0f || least > 0.0f) {
      if (mass < 1.0f) {
        const double share = ceil(static_cast<double>(mass) * static_cast<double>(all));
        limits.weight = max(1ull, static_cast<u64>(share));  // one token at least
      }
      if (least > 0.0f) {
        const u32 key = key_of(fmaxf(-log2f(least), 0.0f));
        limits.order = min(limits.order, order_of(key + 1, 0) - 1);
      }
      all = keep(kTopPAndMinP, limits).weight;
    }
    limits = {};
    limits.weight = min(all, static_cast<u64>(place * static_cast<double>(all)) + 1);
    drawn = static_cast<int>(keep(kDraw, limits).order % (1u << kIdBits));
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) token_ids[index] = drawn;
  blocks_meet();  // others may still be reading this block's memory
}
