#pragma once

// C = A @ B.T for bfloat16 rows in tile registers (tiles.h, which also tells the order of sums):
// weights as they lie, rows of A packed into the workspace first.

#include <fib/cpu.h>
#include <fib/cpu/tiles.h>

namespace fib {

// A whole product: A [rows, kK] bf16, B [kN, kK] bf16 (weights) -> C [rows, kN], Out being uint16_t
// (bf16) or float. Tiles: TileRegisters, or what a test has in their place.
template <int64_t kN, int64_t kK, class Out, class Tiles>
struct TileGemm {
  const uint16_t* a;
  const uint16_t* b;
  Out* c;
  int64_t rows;
  uint16_t* packed;  // workspace_bytes: panels of A

  static size_t workspace_bytes(int64_t rows) {
    const int64_t panels = rows < 1 ? 1 : panels_of(rows);
    return static_cast<size_t>(panels * panel_size<kK>(panel_rows(rows))) * sizeof(uint16_t);
  }

  void run(const FibCall* call) {
    if (rows < 1) return;
    // A chunk takes a microsecond or more: it packs 256 pieces of 64 bytes, or reads 32 KiB.
    call->parallel_for(call, panels_of(rows) * kTileSteps<kK>, 256 / panel_rows(rows), pack, this);
    call->parallel_for(call, kBands, 1 + 1024 / (kK * panels_of(rows)), bands, this);
  }

 private:
  // Bands of sixteen columns of C. The last one begins early rather than to be narrower.
  static constexpr int64_t kBandRows = kN < kTileRegisterRows ? kN : kTileRegisterRows;
  static constexpr int64_t kBands = (kN + kTileRegisterRows - 1) / kTileRegisterRows;

  // A block of panels stays in half of an L2 cache while the weights pass by.
  static constexpr int64_t kBlockPanels = 2 * (512 * 1024 / (2 * kTileRegisterRows * 2 * kK) + 1);

  static int64_t panel_rows(int64_t rows) {
    return rows < 1 ? 1 : rows < kTileRegisterRows ? rows : kTileRegisterRows;
  }
  static int64_t panels_of(int64_t rows) {
    return (rows + kTileRegisterRows - 1) / kTileRegisterRows;
  }
  static int64_t first_column(int64_t band) {
    const int64_t column = band * kTileRegisterRows;
    return column + kBandRows <= kN ? column : kN - kBandRows;
  }
  TileShape shape() const { return {kBandRows, panel_rows(rows)}; }
  const uint16_t* panel(int64_t index) const {
    return packed + index * panel_size<kK>(panel_rows(rows));
  }

  // Steps of panels.
  static void pack(int64_t begin, int64_t end, void* context) {
    const TileGemm& gemm = *static_cast<const TileGemm*>(context);
    const int64_t width = panel_rows(gemm.rows);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / kTileSteps<kK>, first = panel * kTileRegisterRows;
      const int64_t count = gemm.rows - first < width ? gemm.rows - first : width;
      const uint16_t* x[kTileRegisterRows];
      for (int64_t t = 0; t < count; ++t) x[t] = gemm.a + (first + t) * kK;
      pack_step<kK>(x, count, width, i % kTileSteps<kK>,
                    gemm.packed + panel * panel_size<kK>(width));
    }
  }

  static void bands(int64_t begin, int64_t end, void* context) {
    const TileGemm& gemm = *static_cast<const TileGemm*>(context);
    Tiles tiles(gemm.shape());
    const int64_t panels = panels_of(gemm.rows);
    for (int64_t first = 0; first < panels; first += kBlockPanels) {
      const int64_t last = first + kBlockPanels < panels ? first + kBlockPanels : panels;
      for (int64_t band = begin; band < end; band += 2) {
        for (int64_t panel = first; panel < last; panel += 2) {
          const Block block{band, end, panel, panel == first};
          const bool has_two = panel + 1 < last;
          if (band + 1 < end) {
            has_two ? gemm.multiply<2, 2>(tiles, block) : gemm.multiply<2, 1>(tiles, block);
          } else {
            has_two ? gemm.multiply<1, 2>(tiles, block) : gemm.multiply<1, 1>(tiles, block);
          }
        }
      }
    }
  }

  struct Block {
    int64_t band;
    int64_t last_band;  // of this thread, and one more
    int64_t panel;
    bool is_first;  // that reads these weights
  };

  template <int kBlockBands, int kPanels>
  void multiply(Tiles& tiles, const Block& block) const {
    TileOperands<kBlockBands, kPanels> operands;
    for (int i = 0; i < kBlockBands; ++i) {
      const int64_t own = block.band + i, later = own + 2;
      operands.weights[i] = b + first_column(own) * kK;
      operands.next[i] =
          block.is_first ? b + first_column(later < block.last_band ? later : own) * kK : nullptr;
    }
    for (int j = 0; j < kPanels; ++j) operands.panels[j] = panel(block.panel + j);
    multiply_tiles<kK>(tiles, shape(), operands);
    put_tile<0>(tiles, block.band, block.panel);
    if constexpr (kPanels == 2) put_tile<1>(tiles, block.band, block.panel + 1);
    if constexpr (kBlockBands == 2) put_tile<2>(tiles, block.band + 1, block.panel);
    if constexpr (kBlockBands == 2 && kPanels == 2)
      put_tile<3>(tiles, block.band + 1, block.panel + 1);
  }

  template <int kTile>
  void put_tile(Tiles& tiles, int64_t band, int64_t panel) const {
    Floats sums[kTileRegisterRows];
    take_sums<kTile>(tiles, sums);
    const int64_t first = panel * kTileRegisterRows, column = first_column(band);
    const int64_t skipped = band * kTileRegisterRows - column;  // columns of the band before
    for (int64_t t = 0; t < kTileRegisterRows && first + t < rows; ++t) {
      Out* const out = c + (first + t) * kN + column;
      if (kBandRows == kTileRegisterRows && skipped == 0) {
        store(out, sums[t]);
      } else {
        Out values[kLanes];
        store(values, sums[t]);
        memcpy(out + skipped, values + skipped,
               static_cast<size_t>(kBandRows - skipped) * sizeof *out);
      }
    }
  }
};

}  // namespace fib
