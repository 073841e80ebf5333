#pragma once

// The processor's tile registers (fib/cpu/tiles.h) in ordinary code, as Intel's manual tells what
// LDTILECFG, TILELOADD, TILESTORED and TDPBF16PS do: packing, edges and the order of sums can be
// tested bit for bit on any machine. Where the processor would fault, it throws.

#include <fib/cpu/tiles.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace fib {

// fp32 arithmetic of TDPBF16PS: to nearest, ties to even, subnormals zero before and after.
inline float flushed(float value) {
  return std::fabs(value) < 0x1p-126f ? std::copysign(0.0f, value) : value;
}
inline float tile_fma(float a, float b, float c) {
  return flushed(std::fma(flushed(a), flushed(b), flushed(c)));
}
inline float tile_add(float a, float b) { return flushed(flushed(a) + flushed(b)); }

class TileModel {
 public:
  explicit TileModel(TileShape shape) {
    const TileConfig config(shape);
    for (size_t tile = 0; tile < 8; ++tile) {
      if (config.rows[tile] < 1 || config.rows[tile] > 16 || config.row_bytes[tile] < 4 ||
          config.row_bytes[tile] > 64 || config.row_bytes[tile] % 4 != 0)
        throw std::logic_error("the processor refuses this shape");
      tiles_[tile].rows = config.rows[tile];
      tiles_[tile].row_bytes = config.row_bytes[tile];
    }
  }
  TileModel(const TileModel&) = delete;
  TileModel& operator=(const TileModel&) = delete;

  template <int kTile>
  void zero() {
    tiles_[kTile].data = {};
  }

  template <int kTile>
  void load(const void* rows, int64_t stride) {
    Tile& tile = tiles_[kTile];
    tile.data = {};
    for (size_t r = 0; r < tile.rows; ++r) {
      std::memcpy(tile.data[r].data(),
                  static_cast<const char*>(rows) + static_cast<int64_t>(r) * stride,
                  tile.row_bytes);
    }
  }

  template <int kTile>
  void store(void* rows, int64_t stride) {
    const Tile& tile = tiles_[kTile];
    for (size_t r = 0; r < tile.rows; ++r) {
      std::memcpy(static_cast<char*>(rows) + static_cast<int64_t>(r) * stride, tile.data[r].data(),
                  tile.row_bytes);
    }
  }

  template <int kSums, int kWeights, int kX>
  void multiply() {
    static_assert(kSums != kWeights && kSums != kX && kWeights != kX, "three registers");
    Tile& sums = tiles_[kSums];
    const Tile& a = tiles_[kWeights];
    const Tile& b = tiles_[kX];
    if (a.row_bytes / 4 != b.rows || sums.rows != a.rows || sums.row_bytes != b.row_bytes)
      throw std::logic_error("these tiles don't fit together");
    for (size_t m = 0; m < sums.rows; ++m) {
      for (size_t n = 0; n < sums.row_bytes / 4; ++n) {
        float even = 0, odd = 0;
        for (size_t k = 0; k < a.row_bytes / 4; ++k) {
          even = tile_fma(a.bf16(m, 2 * k), b.bf16(k, 2 * n), even);
          odd = tile_fma(a.bf16(m, 2 * k + 1), b.bf16(k, 2 * n + 1), odd);
        }
        float sum;
        std::memcpy(&sum, &sums.data[m][4 * n], sizeof sum);
        sum = tile_add(sum, tile_add(even, odd));
        std::memcpy(&sums.data[m][4 * n], &sum, sizeof sum);
      }
    }
  }

 private:
  struct Tile {
    size_t rows = 0, row_bytes = 0;
    std::array<std::array<char, 64>, 16> data{};

    float bf16(size_t row, size_t element) const {
      uint16_t value;
      std::memcpy(&value, &data[row][2 * element], sizeof value);
      return widen(value);
    }
  };

  std::array<Tile, 8> tiles_;
};

}  // namespace fib
