#pragma once

// Tilings known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a variable of
// every constexpr at namespace scope.

#include <fib/device/stream.h>

enum : int {
  kN = FIB_AXIS_N,
  kK = FIB_AXIS_K,
  kOutputBytes = 4,  // a value of C: float32
};

// Few rows of A: kRows rows of B stream past up to kTokens rows of A; two blocks a multiprocessor.
constexpr int stream_step(int rows, int tokens) {
  return rows == 16 ? (tokens == 8 ? 512 : 256) : 128;
}
constexpr int stream_stages(int rows, int tokens) {
  const int stage = (rows + tokens) * (stream_step(rows, tokens) * 2 + fib::kStreamPadding);
  const int fitting = 104 * 1024 / stage;
  return fitting < 8 ? fitting : 8;
}
template <int kRows, int kTokens>
using Streamed =
    fib::StreamShape<kRows, kTokens, stream_step(kRows, kTokens), stream_stages(kRows, kTokens)>;

// Many: a block computes kBlockColumns columns of C (rows of B) for `tokens` rows of A.
enum : int {
  kBlockColumns = 128,     // 64 for each of the two warpgroups that compute
  kDepth = 64,             // of a step along K: 128 bytes a row, what the swizzle spans
  kTiledThreads = 3 * 128  // one more warpgroup issues the copies
};
constexpr int tile_bytes(int tokens) { return (kBlockColumns + tokens) * kDepth * 2; }
constexpr int tile_stages(int tokens) {
  const int fitting = 200 * 1024 / tile_bytes(tokens);
  return fitting < 12 ? fitting : 12;
}
// The stages, slack to align them to 1024 bytes, and two barriers a stage.
constexpr int tile_shared_bytes(int tokens) {
  return tile_stages(tokens) * tile_bytes(tokens) + 1024 + tile_stages(tokens) * 16;
}
