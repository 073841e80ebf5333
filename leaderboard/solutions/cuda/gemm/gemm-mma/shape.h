#pragma once

// Tilings known to kernel.cu and plan.cpp alike.

struct Tiling {
  int rows, columns, depth;     // of C, and of a step along K
  int row_warps, column_warps;  // how the block's warps share the tile
  int stages;
  int blocks;  // a multiprocessor holds at once

  constexpr int threads() const { return 32 * row_warps * column_warps; }
  constexpr int stage_bytes() const { return (rows + columns) * depth * 2; }
  constexpr int sum_stride() const { return columns + 4; }  // floats: spreads the banks
  constexpr int shared_bytes() const {
    const int ring = stages * stage_bytes(), sums = rows * sum_stride() * 4;
    return ring > sums ? ring : sums;
  }
};

// Few rows: B streams through, long steps keep many bytes in flight. Many rows: large tiles, so
// that each value fetched is used often.
constexpr Tiling k16 = {16, 64, 128, 1, 4, 4, 2};
constexpr Tiling k32 = {32, 64, 128, 1, 4, 4, 2};
constexpr Tiling k64 = {64, 64, 128, 2, 2, 3, 2};
constexpr Tiling k128 = {128, 128, 64, 2, 4, 3, 2};
constexpr Tiling k256 = {128, 256, 64, 2, 4, 4, 1};
