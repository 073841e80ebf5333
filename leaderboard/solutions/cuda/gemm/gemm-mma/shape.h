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
enum Tile { k16, k32, k64, k128, k256 };
constexpr Tiling tiling_of(Tile tile) {
  switch (tile) {
    case k16:
      return {16, 64, 128, 1, 4, 4, 2};
    case k32:
      return {32, 64, 128, 1, 4, 4, 2};
    case k64:
      return {64, 64, 128, 2, 2, 3, 2};
    case k128:
      return {128, 128, 64, 2, 4, 3, 2};
    case k256:
      break;
  }
  return {128, 256, 64, 2, 4, 4, 1};
}
