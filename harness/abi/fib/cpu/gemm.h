#pragma once

// C = A @ B.T for bfloat16 rows, in register tiles of dot products: both operands run along K in
// memory, so weights are read as they lie and no second copy of them is kept.
//
// An element of C is always summed alike: a partial sum for each lane of a register, a pair of
// columns a step from column 0 on, then sums_of's tree. It doesn't depend on the other rows and
// columns, on the tile, or on the number of threads. Where the processor has tile registers, whole
// products are summed as tiles.h does instead, all of them.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>
#include <fib/cpu/gemm_tiles.h>

namespace fib {

// What one register holds: the vectors of inner loops, whose sums must not be spilled.
#if defined(__AVX512F__)
inline constexpr int kStep = 32;  // columns a step along K
typedef Floats Sums;
typedef Words Pairs;
inline constexpr int kTileRows = 4;  // a tile of 4 by 4 sums leaves registers for operands
#else
inline constexpr int kStep = 16;
typedef float Sums __attribute__((vector_size(32)));
typedef uint32_t Pairs __attribute__((vector_size(32)));
inline constexpr int kTileRows = 2;

FIB_INLINE Sums fma(Sums a, Sums b, Sums c) {
#if defined(__AVX2__) && defined(__FMA__)
  return (Sums)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}
FIB_INLINE Sums dot_pairs(Sums sum, Pairs a, Pairs b) {
  return fma((Sums)(a << 16), (Sums)(b << 16),
             fma((Sums)(a & 0xFFFF0000u), (Sums)(b & 0xFFFF0000u), sum));
}
FIB_INLINE Quad sums_of(Sums a, Sums b, Sums c, Sums d) {
  const Sums ab = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13) +
                  __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  const Sums cd = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13) +
                  __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
  const Sums all = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
                   __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
  return __builtin_shufflevector(all, all, 0, 1, 2, 3) +
         __builtin_shufflevector(all, all, 4, 5, 6, 7);
}
#endif
inline constexpr int kTileColumns = 4;

// kStep bfloat16, or the `count` < kStep of them that there are, zeros behind.
FIB_INLINE Pairs load_step(const uint16_t* bf16) {
  Pairs pairs;
  memcpy(&pairs, bf16, sizeof pairs);
  return pairs;
}
FIB_INLINE Pairs load_step(const uint16_t* bf16, int64_t count) {
  Pairs pairs = {};
  memcpy(&pairs, bf16, static_cast<size_t>(count) * sizeof *bf16);
  return pairs;
}

// sums[i][j] = a[i] . b[j] over `kK` columns; a: kRows, b: kColumns pointers to rows of bf16.
// `ahead` elements behind each b[j] lies what is wanted next: memory is slower than one core's
// prefetchers believe, and asking for the next rows early gains a sixth (0: nothing is wanted).
template <int64_t kK, int kRows, int kColumns>
FIB_INLINE void dot_tile(const uint16_t* const* a, const uint16_t* const* b, int64_t ahead,
                         float (*sums)[kColumns]) {
  static_assert(kColumns % 4 == 0, "sums are folded by fours");
  Sums partial[kRows][kColumns] = {};
  const auto step = [&](auto load) {
    Pairs right[kColumns];
    for (int j = 0; j < kColumns; ++j) right[j] = load(b[j]);
    for (int i = 0; i < kRows; ++i) {
      const Pairs left = load(a[i]);
      for (int j = 0; j < kColumns; ++j) partial[i][j] = dot_pairs(partial[i][j], left, right[j]);
    }
  };
  constexpr int64_t kWhole = kK / kStep * kStep;
  for (int64_t k = 0; k < kWhole; k += kStep) {
    for (int j = 0; j < kColumns; ++j) __builtin_prefetch(b[j] + k + ahead);
    step([&](const uint16_t* row) { return load_step(row + k); });
  }
  if constexpr (kWhole < kK)
    step([&](const uint16_t* row) { return load_step(row + kWhole, kK - kWhole); });
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; j += 4) {
      const Quad quad =
          sums_of(partial[i][j], partial[i][j + 1], partial[i][j + 2], partial[i][j + 3]);
      memcpy(&sums[i][j], &quad, sizeof quad);
    }
  }
}

// Dot products of `rows` <= kTileRows rows of A with kTileColumns rows of B.
template <int64_t kK>
FIB_INLINE void dot_rows(int64_t rows, const uint16_t* const* a, const uint16_t* const* b,
                         int64_t ahead, float (*sums)[kTileColumns]) {
  if constexpr (kTileRows >= 4) {
    if (rows == 4) return dot_tile<kK, 4, kTileColumns>(a, b, ahead, sums);
    if (rows == 3) return dot_tile<kK, 3, kTileColumns>(a, b, ahead, sums);
  }
  if (rows == 2) return dot_tile<kK, 2, kTileColumns>(a, b, ahead, sums);
  return dot_tile<kK, 1, kTileColumns>(a, b, ahead, sums);
}

FIB_INLINE void put(uint16_t* out, float value) { *out = narrow(value); }
FIB_INLINE void put(float* out, float value) { *out = value; }

// A whole product: A [rows, kK] bf16, B [kN, kK] bf16 -> C [rows, kN], Out being uint16_t (bf16) or
// float.
template <int64_t kN, int64_t kK, class Out>
struct Gemm {
  const uint16_t* a;
  const uint16_t* b;
  Out* c;
  int64_t rows;

  // What fib_workspace_bytes has to return: never 0 where there are tile registers.
  static size_t workspace_bytes(int64_t rows) {
    if constexpr (kHasTiles) {
      if (may_use_tiles()) return InTiles::workspace_bytes(rows);
    }
    return 0;
  }

  // On the caller's pool. Without a workspace there are no tiles, whatever the number of rows.
  void run(const FibCall* call) {
    if constexpr (kHasTiles) {
      if (call->workspace_bytes > 0 && may_use_tiles())
        return InTiles{a, b, c, rows, static_cast<uint16_t*>(call->workspace)}.run(call);
    }
    // A chunk has at least 2^17 products, a few microseconds of work.
    const int64_t products = kK * kTileColumns * rows;
    call->parallel_for(call, kBands, products > 0 ? 1 + (1 << 17) / products : 1, bands, this);
  }

 private:
  using InTiles = TileGemm<kN, kK, Out, TileRegisters>;

  // Bands of kTileColumns columns of C.
  static constexpr int64_t kBands = (kN + kTileColumns - 1) / kTileColumns;

  // A block of A's rows stays in half of an L2 cache while the weights pass by.
  static constexpr int64_t kBlockRows = (512 * 1024 / (2 * kK) + 15) / 16 * 16;

  static void bands(int64_t begin, int64_t end, void* context) {
    const Gemm& gemm = *static_cast<const Gemm*>(context);
    for (int64_t first = 0; first < gemm.rows; first += kBlockRows) {
      const int64_t last = first + kBlockRows < gemm.rows ? first + kBlockRows : gemm.rows;
      for (int64_t band = begin; band < end; ++band) gemm.band(first, last, band * kTileColumns);
    }
  }

  void band(int64_t first, int64_t last, int64_t column) const {
    const int64_t columns = kN - column < kTileColumns ? kN - column : kTileColumns;
    const uint16_t* right[kTileColumns];  // a band at the edge repeats its last row
    for (int64_t j = 0; j < kTileColumns; ++j)
      right[j] = b + (column + (j < columns ? j : columns - 1)) * kK;
    for (int64_t row = first; row < last; row += kTileRows) {
      const int64_t tile_rows = last - row < kTileRows ? last - row : kTileRows;
      const uint16_t* left[kTileRows];
      for (int64_t i = 0; i < kTileRows; ++i) left[i] = a + (row + (i < tile_rows ? i : 0)) * kK;
      float sums[kTileRows][kTileColumns];
      dot_rows<kK>(tile_rows, left, right, row == first ? kTileColumns * kK : 0, sums);
      for (int64_t i = 0; i < tile_rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) put(c + (row + i) * kN + column + j, sums[i][j]);
      }
    }
  }
};

}  // namespace fib
