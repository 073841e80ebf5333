#pragma once

// Sizes known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a variable of
// every constexpr at namespace scope.

#include <fib/device/experts.h>

enum : int {
  kExperts = FIB_AXIS_num_experts,
  kTopK = FIB_AXIS_top_k,
  kHidden = FIB_AXIS_hidden_size,
  kIntermediate = FIB_AXIS_intermediate_size,
  kGroup = 32,  // weights that share a scale
  kRouteThreads = 1024,
};
static_assert(kHidden % 64 == 0 && kIntermediate % 64 == 0,
              "scales are copied two at a time, gate and up rows by 64");

// The two products: gate and up rows over hidden_size, down rows over intermediate_size.
enum Product { kGateUp, kDown };
constexpr int depth_of(Product p) { return p == kGateUp ? kHidden : kIntermediate; }

// A block computes `rows` weight rows (one half gate, the other the up rows beside them; or all of
// down) for one tile of tokens of one expert; a warp has 32 of the rows. With few tokens, where
// unpacking is the arithmetic that counts, several warps share the depth of the same rows.
constexpr int row_warps(int rows) { return rows / 32; }
constexpr int depth_warps(int rows, int tokens) { return tokens <= 16 ? 8 / row_warps(rows) : 1; }
constexpr int threads_of(int rows, int tokens) {
  return 32 * row_warps(rows) * depth_warps(rows, tokens);
}
constexpr int row_blocks(Product p, int rows) {
  return p == kGateUp ? kIntermediate / (rows / 2) : (kHidden + rows - 1) / rows;
}

// One step of the pipeline along the depth, and its place in shared memory. Rows are padded so
// that the reads of a warp fall into different banks.
constexpr int step_depth(Product p, int tokens) {
  return tokens <= 16 && depth_of(p) >= 256 ? 256 : 128;
}
constexpr int weight_stride(int depth) { return depth / 2 + 16; }
constexpr int scale_stride(int depth) { return depth / kGroup * 2; }
constexpr int token_stride(int depth) { return depth * 2 + 64; }
constexpr int stage_bytes(Product p, int rows, int tokens) {
  const int depth = step_depth(p, tokens);
  return rows * (weight_stride(depth) + scale_stride(depth)) + tokens * token_stride(depth);
}
// Two blocks a multiprocessor, each with as many stages as fit.
constexpr int stages(Product p, int rows, int tokens) {
  const int shared_per_block = 112 * 1024, most = rows == 64 ? 6 : 5;
  const int fitting = shared_per_block / stage_bytes(p, rows, tokens);
  return fitting < most ? fitting : most;
}
constexpr int shared_bytes(Product p, int rows, int tokens) {
  return stages(p, rows, tokens) * stage_bytes(p, rows, tokens);
}
