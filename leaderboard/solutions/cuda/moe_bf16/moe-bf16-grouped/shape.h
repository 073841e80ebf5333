#pragma once

// Sizes known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a variable of
// every constexpr at namespace scope.

#include <fib/device/experts.h>
#include <fib/device/stream.h>

enum : int {
  kExperts = FIB_AXIS_num_experts,
  kTopK = FIB_AXIS_top_k,
  kHidden = FIB_AXIS_hidden_size,
  kIntermediate = FIB_AXIS_intermediate_size,
  kRouteThreads = 1024,
};
static_assert(kHidden % 16 == 0 && kIntermediate % 16 == 0,
              "the tensor cores' step along the depth");

// The two products: gate and up rows over hidden_size, down rows over intermediate_size.
enum Product { kGateUp, kDown };
constexpr int depth_of(Product p) { return p == kGateUp ? kHidden : kIntermediate; }

// A block computes block_rows weight rows (one half gate, the other half the up rows beside them;
// or all of down) for one tile of tokens of one expert. Two blocks a multiprocessor.
constexpr int block_rows(int tokens) { return tokens >= 64 ? 128 : 64; }
constexpr int row_blocks(Product p, int tokens) {
  const int rows = p == kGateUp ? block_rows(tokens) / 2 : block_rows(tokens);
  return ((p == kGateUp ? int{kIntermediate} : int{kHidden}) + rows - 1) / rows;
}
constexpr int step_depth(int tokens) { return tokens >= 64 ? 64 : 128; }
constexpr int stages(int tokens) {
  const int stage = (block_rows(tokens) + tokens) * (step_depth(tokens) * 2 + fib::kStreamPadding);
  return 104 * 1024 / stage;
}
template <int kTokens>
using Streamed =
    fib::StreamShape<block_rows(kTokens), kTokens, step_depth(kTokens), stages(kTokens)>;
