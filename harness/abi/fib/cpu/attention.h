#pragma once

// Causal grouped-query attention for `cpu` solutions, decode and prefill alike.
//
// A row, one query token and head, is computed by the same operations in the same order whatever
// stands around it: keys are cut by their position into runs of kRun and blocks of kBlock; a run
// keeps an online softmax over its blocks; runs are merged in order. So a row comes out bit for bit
// the same in a batch of one or of many, in prefill, in a chunked append or in decode, on any
// number of threads. Nothing is left to the compiler's contraction: products that enter sums are
// fma().

#include <fib/cpu/bf16.h>
#include <math.h>

namespace fib {

// One register of the machine, for the innermost loops: what is wider than that goes by memory.
#if defined(__AVX512F__)
typedef Floats Lane;
typedef Words LaneWords;
#elif defined(__AVX2__) && defined(__FMA__)
typedef float Lane __attribute__((vector_size(32)));
typedef uint32_t LaneWords __attribute__((vector_size(32)));
FIB_INLINE Lane fma(Lane a, Lane b, Lane c) {
  return (Lane)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
#else
typedef float Lane __attribute__((vector_size(16)));
typedef uint32_t LaneWords __attribute__((vector_size(16)));
FIB_INLINE Lane fma(Lane a, Lane b, Lane c) { return a * b + c; }
#endif
inline constexpr int kLaneWidth = sizeof(Lane) / sizeof(float);

FIB_INLINE Lane lane_at(const void* from) {
  Lane lane;
  memcpy(&lane, from, sizeof lane);
  return lane;
}
FIB_INLINE void put(float* to, Lane lane) { memcpy(to, &lane, sizeof lane); }

// As dot_pairs of bf16.h.
FIB_INLINE Lane dot_lane(Lane sum, LaneWords a, LaneWords b) {
#if defined(__AVX512F__)
  return dot_pairs(sum, a, b);
#else
  const LaneWords high = LaneWords{} + 0xFFFF0000u;
  return fma((Lane)(a << 16), (Lane)(b << 16), fma((Lane)(a & high), (Lane)(b & high), sum));
#endif
}

// to [kLanes][stride]: column t is the kLanes words from from[t] on, or 0 where that is null.
FIB_INLINE void transpose(const uint16_t* const (&from)[kLanes], uint32_t* to, int stride) {
#if defined(__AVX512F__)
  Words m[kLanes];
  for (int t = 0; t < kLanes; ++t) m[t] = from[t] != nullptr ? load_pairs(from[t]) : Words{};
  // Swaps the blocks off the diagonal, of 1, 2, 4 and 8 elements.
  const auto swap = [&m](int step, auto exchange) {
    for (int i = 0; i < kLanes; ++i) {
      if ((i & step) == 0) exchange(m[i], m[i + step]);
    }
  };
  swap(1, [](Words& a, Words& b) {
    const Words old = a;
    a = __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    b = __builtin_shufflevector(old, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  });
  swap(2, [](Words& a, Words& b) {
    const Words old = a;
    a = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    b = __builtin_shufflevector(old, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  });
  swap(4, [](Words& a, Words& b) {
    const Words old = a;
    a = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    b = __builtin_shufflevector(old, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  });
  swap(8, [](Words& a, Words& b) {
    const Words old = a;
    a = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    b = __builtin_shufflevector(old, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                31);
  });
  for (int i = 0; i < kLanes; ++i) memcpy(to + i * stride, &m[i], sizeof m[i]);
#else
  for (int t = 0; t < kLanes; ++t) {
    for (int i = 0; i < kLanes; ++i) {
      uint32_t pair = 0;
      if (from[t] != nullptr) memcpy(&pair, from[t] + 2 * i, sizeof pair);
      to[i * stride + t] = pair;
    }
  }
#endif
}

template <int kQoHeads, int kKvHeads, int kDim>
struct Attention {
  static_assert(kQoHeads % kKvHeads == 0, "whole groups of query heads");
  static_assert(kDim % 32 == 0, "whole vectors of bfloat16 pairs");
  static constexpr int kGroup = kQoHeads / kKvHeads;  // query heads that share keys and values
  static constexpr int kBlock = 32;                   // keys
  static constexpr int kRun = 512;                    // keys, whole blocks
  // Tokens a tile: enough rows that laying out a block of keys costs little beside its use.
  static constexpr int kTileTokens = kGroup >= 64 ? 1 : 64 / kGroup;
  static constexpr int kTileRows = kTileTokens * kGroup;
  static constexpr int kVectors = kDim / kLanes;
  static constexpr int kPairs = kDim / 2;

  // The state of a row. Without keys: max -inf, all else 0.
  struct Row {
    float max;           // of the base-2 logits
    float sum;           // of 2^(logit - max)
    float padding[14];   // values start on a cache line
    float values[kDim];  // sum of 2^(logit - max) * value
  };

  // Queries of neighbouring tokens, and the keys that they see.
  struct Tile {
    const uint16_t* q;  // [tokens, kQoHeads, kDim] bf16, from the first head of the group on
    int tokens;         // at most kTileTokens
    int64_t visible;    // keys that the first token sees; each further token sees one more
    const uint16_t* k;  // keys and values of one KV head, kDim contiguous bf16 each, where
    const uint16_t* v;  // locate(position) says, in elements
    float scale_log2;   // of the logits, base 2

    int64_t last_visible() const { return visible + tokens - 1; }
  };

  static void clear(Row* rows, int count) {
    for (int i = 0; i < count; ++i) {
      memset(&rows[i], 0, sizeof(Row));
      rows[i].max = -INFINITY;
    }
  }

  // rows [tile.tokens * kGroup], cleared: over the keys of the run from position `begin` on.
  template <class Locate>
  static void attend_run(const Tile& tile, int64_t begin, const Locate& locate, Row* rows) {
    const int64_t end = begin + kRun < tile.last_visible() ? begin + kRun : tile.last_visible();
    Block block;
    for (int64_t first = begin; first < end; first += kBlock) {
      const int count = end - first < kBlock ? static_cast<int>(end - first) : kBlock;
      block.fill(tile, first, count, locate);
      // Tokens before this one see none of the block's keys.
      const int64_t blind = first + 1 - tile.visible;
      const int first_row = blind > 0 ? static_cast<int>(blind) * kGroup : 0;
      attend_block(tile, block, first, first_row, rows);
    }
  }

  // totals [tile.tokens * kGroup]: over all keys that the tile sees. parts: as many, for use here.
  template <class Locate>
  static void attend(const Tile& tile, const Locate& locate, Row* parts, Row* totals) {
    const int count = tile.tokens * kGroup;
    clear(totals, count);
    for (int64_t begin = 0; begin < tile.last_visible(); begin += kRun) {
      clear(parts, count);
      attend_run(tile, begin, locate, parts);
      merge(totals, parts, count);
    }
  }

  // Adds a run's rows to those of the runs before it.
  static void merge(Row* totals, const Row* parts, int count) {
    for (int row = 0; row < count; ++row) {
      Row& total = totals[row];
      const Row& part = parts[row];
      if (part.max == -INFINITY) continue;  // the row sees none of this run's keys
      const float max = total.max > part.max ? total.max : part.max;
      const float old = power(total.max - max), fresh = power(part.max - max);
      total.max = max;
      total.sum = fma(total.sum, old, part.sum * fresh);
      for (int i = 0; i < kVectors; ++i) {
        float* const values = total.values + i * kLanes;
        store(values, fma(load(values), splat(old), load(part.values + i * kLanes) * fresh));
      }
    }
  }

  // output [kDim] bf16, lse base 2. A row without keys gives 0 and -inf.
  static void finish(const Row& row, uint16_t* output, float* lse) {
    const float inverse = row.sum == 0.0f ? 0.0f : 1.0f / row.sum;
    for (int i = 0; i < kVectors; ++i)
      store(output + i * kLanes, load(row.values + i * kLanes) * inverse);
    *lse = row.max + log2f(row.sum);
  }

 private:
  static constexpr int kHalves = kBlock / kLanes;
  static constexpr bool kIsWide = kLaneWidth == kLanes;

  static float power(float x) { return exp2_of(splat(x))[0]; }

  // 32 keys and values as the arithmetic wants them.
  struct alignas(64) Block {
    uint32_t keys[kPairs][kBlock];  // column t: the pairs of key t
    float values[kBlock][kDim];
    float logits[kTileRows][kBlock];  // of each row, unscaled

    template <class Locate>
    void fill(const Tile& tile, int64_t first, int count, const Locate& locate) {
      int64_t offsets[kBlock];
      for (int t = 0; t < count; ++t) offsets[t] = locate(first + t);
      for (int half = 0; half < kHalves; ++half) {
        for (int pair = 0; pair < kPairs; pair += kLanes) {
          const uint16_t* from[kLanes];
          for (int t = 0; t < kLanes; ++t) {
            const int key = half * kLanes + t;
            from[t] = key < count ? tile.k + offsets[key] + 2 * pair : nullptr;
          }
          transpose(from, &keys[pair][half * kLanes], kBlock);
        }
      }
      for (int t = 0; t < count; ++t) {
        for (int i = 0; i < kDim; i += kLanes) store(values[t] + i, load(tile.v + offsets[t] + i));
      }
    }
  };

  static const uint16_t* query(const Tile& tile, int row) {
    return tile.q + (int64_t{row / kGroup} * kQoHeads + row % kGroup) * kDim;
  }

  static void attend_block(const Tile& tile, Block& block, int64_t first, int first_row,
                           Row* rows) {
    const int count = tile.tokens * kGroup;
    constexpr int kRows = kIsWide ? 4 : 2;
    int row = first_row;
    for (; row + kRows <= count; row += kRows) dot_rows<kRows>(tile, block, row);
    for (; row < count; ++row) dot_rows<1>(tile, block, row);
    for (int token = first_row / kGroup; token < tile.tokens; ++token) {
      const int64_t left = tile.visible + token - first;
      const int keys = left < kBlock ? static_cast<int>(left) : kBlock;
      int head = 0;
      for (; head + 2 <= kGroup; head += 2)
        add_rows<2>(block, keys, tile.scale_log2, token * kGroup + head, rows);
      for (; head < kGroup; ++head)
        add_rows<1>(block, keys, tile.scale_log2, token * kGroup + head, rows);
    }
  }

  // block.logits of neighbouring rows: query times key.
  template <int kRows>
  static void dot_rows(const Tile& tile, Block& block, int row) {
    constexpr int kSums = kBlock / kLaneWidth;
    const uint16_t* queries[kRows];
    for (int r = 0; r < kRows; ++r) queries[r] = query(tile, row + r);
    Lane sums[kRows][kSums] = {};
    for (int pair = 0; pair < kPairs; ++pair) {
      for (int r = 0; r < kRows; ++r) {
        uint32_t both;
        memcpy(&both, queries[r] + 2 * pair, sizeof both);
        for (int i = 0; i < kSums; ++i) {
          const auto key = (LaneWords)lane_at(&block.keys[pair][i * kLaneWidth]);
          sums[r][i] = dot_lane(sums[r][i], LaneWords{} + both, key);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kSums; ++i) put(block.logits[row + r] + i * kLaneWidth, sums[r][i]);
    }
  }

  // The softmax and the values of neighbouring rows that see the block's first `keys` keys.
  template <int kRows>
  static void add_rows(Block& block, int keys, float scale_log2, int first_row, Row* rows) {
    constexpr Ints kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float shrink[kRows], weights[kRows][kBlock];
    for (int r = 0; r < kRows; ++r) {
      Row& row = rows[first_row + r];
      Floats logits[kHalves];
      for (int half = 0; half < kHalves; ++half) {
        // As fma(), so that the product isn't contracted into the subtraction below.
        const Floats scaled =
            fma(load(block.logits[first_row + r] + half * kLanes), splat(scale_log2), splat(0.0f));
        logits[half] = kLane + half * kLanes < keys ? scaled : splat(-INFINITY);
      }
      const float highest = max_of(logits[0] > logits[1] ? logits[0] : logits[1]);
      const float max = row.max > highest ? row.max : highest;
      shrink[r] = power(row.max - max);
      for (int half = 0; half < kHalves; ++half) {
        logits[half] = exp2_of(logits[half] - max);
        store(weights[r] + half * kLanes, logits[half]);
      }
      row.max = max;
      row.sum = fma(row.sum, shrink[r], sum_of(logits[0] + logits[1]));
    }
    constexpr int kSums = kIsWide ? 8 : 4;  // what the registers hold, for two rows
    constexpr int kStep = kSums * kLaneWidth;
    int from = 0;
    for (; from + kStep <= kDim; from += kStep)
      add_values<kRows, kSums>(block, keys, shrink, weights, from, rows + first_row);
    for (; from < kDim; from += kLaneWidth)
      add_values<kRows, 1>(block, keys, shrink, weights, from, rows + first_row);
  }

  // Dimensions from `from` on.
  template <int kRows, int kSums>
  static void add_values(const Block& block, int keys, const float (&shrink)[kRows],
                         const float (&weights)[kRows][kBlock], int from, Row* rows) {
    Lane sums[kRows][kSums];
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kSums; ++i)
        sums[r][i] = lane_at(rows[r].values + from + i * kLaneWidth) * shrink[r];
    }
    for (int t = 0; t < keys; ++t) {
      for (int i = 0; i < kSums; ++i) {
        const Lane value = lane_at(block.values[t] + from + i * kLaneWidth);
        for (int r = 0; r < kRows; ++r) sums[r][i] = fma(Lane{} + weights[r][t], value, sums[r][i]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kSums; ++i) put(rows[r].values + from + i * kLaneWidth, sums[r][i]);
    }
  }
};

}  // namespace fib
