#pragma once

// Sizes and orders known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a
// variable of every constexpr at namespace scope.

// What can be tried without touching the code, by -D flags in solution.json.
#ifndef MOE_TILE_TOKENS
#define MOE_TILE_TOKENS 0  // 32, 64 or 128: always tiles of that many tokens; 0: plan.cpp chooses
#endif
#ifndef MOE_WIDTHS
#define MOE_WIDTHS 4  // 4: tiles with fewer tokens use narrower instructions; 1: all the widest
#endif
#ifndef MOE_ROUNDS_PARTIAL
#define MOE_ROUNDS_PARTIAL 0  // 1: what `down` leaves to `combine` is bf16, half the bytes
#endif

enum : int {
  kExperts = FIB_AXIS_num_experts,
  kTopK = FIB_AXIS_top_k,
  kHidden = FIB_AXIS_hidden_size,
  kIntermediate = FIB_AXIS_intermediate_size,
  kGroup = 32,  // weights that share a scale
  kWidths = MOE_WIDTHS,
  kPartialBytes = MOE_ROUNDS_PARTIAL ? 2 : 4,
  kPrepareThreads = 1024,
  // Of a product's block: one warpgroup copies, two multiply.
  kCopyThreads = 128,
  kMultiplyWarps = 8,
  kProductThreads = kCopyThreads + 32 * kMultiplyWarps,
  // A block's tile has kBlockRows rows of weights and walks down the depth in steps of kStep.
  kBlockRows = 256,
  kStep = 128,
};
static_assert(kHidden % 256 == 0 && kIntermediate % 128 == 0, "tiles and steps are never partial");

// The two products: gate and up rows over hidden_size, down rows over intermediate_size.
enum Product { kGateUp, kDown };
constexpr int depth_of(Product p) { return p == kGateUp ? kHidden : kIntermediate; }
constexpr int weight_rows(Product p) { return p == kGateUp ? 2 * kIntermediate : kHidden; }
constexpr int row_blocks(Product p) { return weight_rows(p) / kBlockRows; }

// Tokens' values lie in memory, step by step, in the order that makes a lane's fragments of weights
// one 16-byte read of one group: lane 4 g + c multiplies columns 32 c .. 32 c + 31, four words of
// eight nibbles, and takes word j for instructions 2 j and 2 j + 1 as unpack_int4_halves gives it.
// The column, of a step's, at a position:
constexpr int column_at(int position) {
  const int instruction = position / 16, half = position / 8 % 2, c = position / 2 % 4;
  const int nibble = instruction % 2 * 2 + half + position % 2 * 4;
  return c * 32 + instruction / 2 * 8 + nibble;
}

// A stage of the pipeline: tokens [2][tokens][64] bf16, swizzled for wgmma; weights
// [kBlockRows][kStep / 8] words; scales [kBlockRows][kStep / kGroup] bf16.
constexpr int token_bytes(int tokens) { return tokens * kStep * 2; }
constexpr int stage_bytes(int tokens) {
  return token_bytes(tokens) + kBlockRows * (kStep / 2 + kStep / kGroup * 2);
}
constexpr int stages(int tokens) {
  const int fitting = 216 * 1024 / stage_bytes(tokens);
  return fitting < 8 ? fitting : 8;
}
// Stages begin at multiples of 1024, which dynamic shared memory need not.
constexpr int shared_bytes(int tokens) { return stages(tokens) * stage_bytes(tokens) + 1024; }

// The expert's row that stands in row `row` of a stage. Each multiplying warpgroup has 128 of them,
// two tiles of 64. Gate and up: the first tile's are gate rows and the second's the up rows beside
// them, in the order in which `down` wants their results.
constexpr int weight_row(Product p, int row_block, int row) {
  if (p == kDown) return row_block * kBlockRows + row;
  return row / 64 % 2 * kIntermediate + row_block * (kBlockRows / 2) +
         column_at(row / 128 * 64 + row % 64);
}
// From row r to row r + rows of a stage, rows a multiple of 32 and r < 32 (or 128, and r < 128).
constexpr int rows_apart(Product p, int rows) {
  return weight_row(p, 0, rows) - weight_row(p, 0, 0);
}
