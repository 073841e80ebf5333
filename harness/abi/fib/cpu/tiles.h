#pragma once

// Sums of bfloat16 products in tile registers (AMX): eight registers of up to 16 rows of 64 bytes,
// and an instruction that multiplies two of them.
//
// A product Y = X @ W.T is computed as its transpose. A tile of weights is sixteen rows of W by 32
// columns, loaded as it lies; only the rows of X, of which there are few, are packed (pack_step).
// One row takes as long as sixteen do, and then the weights are still read far faster than memory
// delivers them.
//
// An element of Y is always summed alike: 32 columns a step from column 0 on, in each of which
// the even columns' products and the odd ones' are summed by fused multiply-adds, each from zero
// and in order, then added to each other and to the element. Subnormals are zero everywhere. It
// doesn't depend on the other rows, on how tiles are grouped, or on the number of threads.

#include <fib/cpu/bf16.h>

#include <utility>

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fib {

inline constexpr int64_t kTileRegisterRows = 16;
inline constexpr int64_t kTileStep = 32;  // columns along K in one tile of weights, 64 bytes

// The shapes of the tiles of a product: 0 to 3 are sums, weights by rows of x; 4 and 5 are weights;
// 6 and 7 are packed rows of x, a row of the tile being a pair of columns.
struct TileShape {
  int64_t weight_rows;  // 1 to 16
  int64_t x_rows;       // 1 to 16
};

// What ldtilecfg reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  explicit TileConfig(TileShape shape) {
    for (int tile = 0; tile < 8; ++tile) {
      row_bytes[tile] = static_cast<uint16_t>(tile / 2 == 2 ? 64 : 4 * shape.x_rows);
      rows[tile] = static_cast<uint8_t>(tile < 6 ? shape.weight_rows : kTileRegisterRows);
    }
  }
};
static_assert(sizeof(TileConfig) == 64, "the processor's layout");

#if defined(__linux__) && defined(__x86_64__)
// Whether this code is made for processors with tile registers. -DNO_TILE_REGISTERS makes the other code.
#if defined(__AMX_BF16__) && !defined(NO_TILE_REGISTERS)
inline constexpr bool kHasTiles = true;
#else
inline constexpr bool kHasTiles = false;
#endif

// On a processor with tile registers: true if this process may use them. Linux wants to be asked,
// because they are 8 KiB more to save at each switch of threads and each signal. It is asked once,
// so that no two calls get different answers. False where the kernel doesn't know them, or where a
// thread has too small an alternative stack for signals.
static inline bool may_use_tiles() {
  enum { kUnknown, kYes, kNo };
  static int known;  // kUnknown
  int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (answer == kUnknown) {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
    answer = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? kYes : kNo;
    __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
  }
  return answer == kYes;
}

// The tile registers of this thread while it lives. In assembly, because the compilers' intrinsics
// take registers as literals and don't say that they read memory.
class TileRegisters {
 public:
  explicit TileRegisters(TileShape shape) {
    const TileConfig config(shape);
    __asm__ volatile("ldtilecfg %0" ::"m"(config));
  }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
  ~TileRegisters() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  FIB_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  // Rows of memory that are `stride` bytes apart, of the length and number that the shape says.
  template <int kTile>
  FIB_INLINE void load(const void* rows, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  FIB_INLINE void store(void* rows, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(kTile)
                     : "memory");
  }
  // Sums += weights times rows of x, over one step of columns.
  template <int kSums, int kWeights, int kX>
  FIB_INLINE void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kWeights), "i"(kX));
  }
};
#else
inline constexpr bool kHasTiles = false;
static inline bool may_use_tiles() { return false; }
class TileRegisters;
#endif

// Exchanges rows and columns of sixteen vectors: of blocks of kHalf, then within them.
template <int kHalf, int... kLane>
FIB_INLINE void exchange_blocks(Words* rows, std::integer_sequence<int, kLane...>) {
  for (int i = 0; i < kLanes; ++i) {
    if (i & kHalf) continue;
    const Words a = rows[i], b = rows[i + kHalf];
    rows[i] = __builtin_shufflevector(a, b, (kLane & kHalf ? kLane - kHalf + kLanes : kLane)...);
    rows[i + kHalf] =
        __builtin_shufflevector(a, b, (kLane & kHalf ? kLane + kLanes : kLane + kHalf)...);
  }
}
FIB_INLINE void transpose(Words* rows) {
  constexpr auto kEach = std::make_integer_sequence<int, kLanes>();
  exchange_blocks<8>(rows, kEach);
  exchange_blocks<4>(rows, kEach);
  exchange_blocks<2>(rows, kEach);
  exchange_blocks<1>(rows, kEach);
}

// ---- Rows of X, packed: a panel is up to 16 rows, [steps, 16 pairs, rows, 2] bf16.

template <int64_t kK>
inline constexpr int64_t kTileSteps = (kK + kTileStep - 1) / kTileStep;

// bf16 in a panel of `width` rows.
template <int64_t kK>
FIB_INLINE int64_t panel_size(int64_t width) {
  return kTileSteps<kK> * kTileStep * width;
}

// One step of a panel. x: pointers to `count` <= width rows of kK bf16; zeros stand for the rows
// and columns that there are not.
template <int64_t kK>
inline void pack_step(const uint16_t* const* x, int64_t count, int64_t width, int64_t step,
                      uint16_t* panel) {
  Words rows[kTileRegisterRows] = {};
  constexpr int64_t kEdge = kK % kTileStep;
  for (int64_t t = 0; t < count; ++t) {
    const uint16_t* const from = x[t] + step * kTileStep;
    if (kEdge > 0 && step == kTileSteps<kK> - 1) {
      memcpy(&rows[t], from, kEdge * sizeof *from);
    } else {
      memcpy(&rows[t], from, sizeof rows[t]);
    }
  }
  uint16_t* const out = panel + step * kTileStep * width;
  if (width == kTileRegisterRows) {
    transpose(rows);
    memcpy(out, rows, sizeof rows);
    return;
  }
  for (int64_t t = 0; t < width; ++t) {
    for (int64_t pair = 0; pair < kLanes; ++pair) {
      const uint32_t word = rows[t][pair];
      memcpy(out + (pair * width + t) * 2, &word, sizeof word);
    }
  }
}

// ---- Products.

// What one block of tiles multiplies: kBands times 16 rows of weights by kPanels panels of x.
template <int kBands, int kPanels>
struct TileOperands {
  const uint16_t* weights[kBands];  // the first of each band's rows
  const uint16_t* panels[kPanels];
  const uint16_t* next[kBands];  // bands to read afterwards; null: these are in a cache
};

// Leaves the sums of band i and panel j in tile 2 i + j. The weights' rows are kK bf16 long and lie
// behind each other; nothing behind the last one's end is read.
template <int64_t kK, int kBands, int kPanels, class Tiles>
FIB_INLINE void multiply_tiles(Tiles& tiles, TileShape shape,
                               const TileOperands<kBands, kPanels>& operands) {
  const int64_t panel_stride = 4 * shape.x_rows;
  const auto step = [&](const uint16_t* const* weights, int64_t stride, int64_t s) {
    const int64_t place = s * kTileStep * shape.x_rows;
    tiles.template load<4>(weights[0], stride);
    tiles.template load<6>(operands.panels[0] + place, panel_stride);
    tiles.template multiply<0, 4, 6>();
    if constexpr (kPanels == 2) {
      tiles.template load<7>(operands.panels[1] + place, panel_stride);
      tiles.template multiply<1, 4, 7>();
    }
    if constexpr (kBands == 2) {
      tiles.template load<5>(weights[1], stride);
      tiles.template multiply<2, 5, 6>();
      if constexpr (kPanels == 2) tiles.template multiply<3, 5, 7>();
    }
  };
  tiles.template zero<0>();
  tiles.template zero<1>();
  tiles.template zero<2>();
  tiles.template zero<3>();

  // Sixteen rows at once are more streams than a core's prefetchers follow well: lines are asked
  // for some steps ahead, into L2, because rows whose length is a power of two share a few places
  // of L1.
  constexpr int64_t kAhead = 8;
  constexpr int64_t kWhole = kK / kTileStep;
  for (int64_t s = 0; s < kWhole; ++s) {
    const uint16_t* weights[kBands];
    const int64_t soon = s + kAhead;
    for (int i = 0; i < kBands; ++i) {
      weights[i] = operands.weights[i] + s * kTileStep;
      if (operands.next[i] == nullptr) continue;
      const uint16_t* const wanted = soon < kWhole ? operands.weights[i] + soon * kTileStep
                                                   : operands.next[i] + (soon - kWhole) * kTileStep;
      for (int64_t row = 0; row < shape.weight_rows; ++row)
        __builtin_prefetch(wanted + row * kK, 0, 2);
    }
    step(weights, kK * sizeof(uint16_t), s);
  }
  if constexpr (kWhole < kTileSteps<kK>) {  // a copy, with zeros behind
    alignas(64) uint16_t edge[kBands][kTileRegisterRows][kTileStep] = {};
    const uint16_t* weights[kBands];
    for (int i = 0; i < kBands; ++i) {
      weights[i] = edge[i][0];
      for (int64_t row = 0; row < shape.weight_rows; ++row) {
        memcpy(edge[i][row], operands.weights[i] + row * kK + kWhole * kTileStep,
               kK % kTileStep * sizeof(uint16_t));
      }
    }
    step(weights, sizeof edge[0][0], kWhole);
  }
}

// A tile of sums the other way round: out[t], the sums of row t of x with each row of weights.
template <int kTile, class Tiles>
FIB_INLINE void take_sums(Tiles& tiles, Floats* out) {
  alignas(64) Words rows[kTileRegisterRows] = {};
  tiles.template store<kTile>(rows, sizeof rows[0]);
  transpose(rows);
  memcpy(out, rows, sizeof rows);
}

}  // namespace fib
