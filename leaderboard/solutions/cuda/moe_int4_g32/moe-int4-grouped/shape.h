#pragma once

// Sizes known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a variable of
// every constexpr at namespace scope.

#include <fib/device/experts.h>

// What a search may set (solution.json), for tiles of up to 16 tokens, where decoding is.
#ifndef ROWS  // of weights, a block
#define ROWS 128
#endif
#ifndef WARPS  // a block
#define WARPS 8
#endif
#ifndef STEP  // of the pipeline, in columns
#define STEP 256
#endif
#ifndef BLOCKS  // a multiprocessor
#define BLOCKS 2
#endif
#ifndef STAGES  // of the pipeline, at most; narrow blocks have one more
#define STAGES 5
#endif
#ifndef NARROW  // rounds up to which narrow blocks replace wide ones; 0: never
#define NARROW 1
#endif

enum : int {
  kExperts = FIB_AXIS_num_experts,
  kTopK = FIB_AXIS_top_k,
  kHidden = FIB_AXIS_hidden_size,
  kIntermediate = FIB_AXIS_intermediate_size,
  kGroup = 32,  // weights that share a scale
  kRouteThreads = 1024,
  kFewRows = ROWS,  // of a block with few tokens
  kNarrowRows = 64,
};
static_assert(kHidden % 64 == 0 && kIntermediate % 64 == 0,
              "scales are copied two at a time, gate and up rows by 64");

// The two products: gate and up rows over hidden_size, down rows over intermediate_size.
enum Product { kGateUp, kDown };
constexpr int depth_of(Product p) { return p == kGateUp ? kHidden : kIntermediate; }

// A block computes `rows` weight rows (one half gate, the other the up rows beside them; or all of
// down) for one tile of tokens of one expert; a warp has 32 of the rows. With few tokens, where
// unpacking is the arithmetic that counts, several warps share the depth of the same rows.
constexpr bool is_few(int tokens) { return tokens <= 16; }
constexpr int row_warps(int rows) { return rows / 32; }
constexpr int depth_warps(int rows, int tokens) {
  return is_few(tokens) ? WARPS / row_warps(rows) : 1;
}
constexpr int blocks_a_multiprocessor(int tokens) { return is_few(tokens) ? BLOCKS : 2; }
constexpr int threads_of(int rows, int tokens) {
  return 32 * row_warps(rows) * depth_warps(rows, tokens);
}
constexpr int row_blocks(Product p, int rows) {
  return p == kGateUp ? kIntermediate / (rows / 2) : (kHidden + rows - 1) / rows;
}

// One step of the pipeline along the depth, and its place in shared memory. Rows are padded so
// that the reads of a warp fall into different banks.
constexpr int step_depth(Product p, int tokens) {
  const int least = WARPS > 8 ? 256 : 128;  // less would leave threads without a copy
  if (!is_few(tokens)) return 128;
  return depth_of(p) >= STEP ? STEP : least;
}
constexpr int weight_stride(int depth) { return depth / 2 + 16; }
constexpr int scale_stride(int depth) { return depth / kGroup * 2; }
constexpr int token_stride(int depth) { return depth * 2 + 64; }
constexpr int stage_bytes(Product p, int rows, int tokens) {
  const int depth = step_depth(p, tokens);
  return rows * (weight_stride(depth) + scale_stride(depth)) + tokens * token_stride(depth);
}
// As many stages as fit into a block's share of a multiprocessor's 228 KiB, beside the lists of few
// tiles, the sums that warps hand over, and what the system keeps.
constexpr int stages(Product p, int rows, int tokens) {
  const int lists = tokens == fib::kFewTokens ? 3 * 1024 : 0;
  const int handed_over = (depth_warps(rows, tokens) - 1) * tokens * rows * 4;
  const int share = 228 * 1024 / blocks_a_multiprocessor(tokens) - 1024;
  const int fitting = (share - lists - handed_over) / stage_bytes(p, rows, tokens);
  const int most = rows == kNarrowRows ? STAGES + 1 : STAGES;
  return fitting < most ? fitting : most;
}
constexpr int shared_bytes(Product p, int rows, int tokens) {
  return stages(p, rows, tokens) * stage_bytes(p, rows, tokens);
}
