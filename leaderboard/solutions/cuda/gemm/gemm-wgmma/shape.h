#pragma once

// Tilings known to kernel.cu and plan.cpp alike. A block computes kBlockColumns columns of C (rows
// of B) for `tokens` rows of C (rows of A).

// An enumeration, because NVRTC makes a variable of every constexpr at namespace scope.
enum : int {
  kBlockColumns = 128,  // 64 for each of the two warpgroups that compute
  kDepth = 64,          // of a step along K: 128 bytes a row, what the swizzle spans
  kThreads = 3 * 128,   // one more warpgroup issues the copies
};

constexpr int stage_bytes(int tokens) { return (kBlockColumns + tokens) * kDepth * 2; }
constexpr int stages(int tokens) {
  const int fitting = 200 * 1024 / stage_bytes(tokens);
  return fitting < 12 ? fitting : 12;
}
// The stages, slack to align them to 1024 bytes, and two barriers a stage.
constexpr int shared_bytes(int tokens) {
  return stages(tokens) * stage_bytes(tokens) + 1024 + stages(tokens) * 16;
}
