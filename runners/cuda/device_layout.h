#pragma once

// Where buffers lie in the arena: at addresses that move from call to call, each between two
// guard regions. No device needed.

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "runners/cuda/device/harness_abi.h"

namespace fib {

using LayoutRandom = std::mt19937_64;

struct LayoutBuffer {
  std::string name;  // "output 'output'", for the author of an overrun
  uint64_t bytes = 0;
};

struct Layout {
  std::vector<uint64_t> addresses;  // as the buffers given
  GuardList guards{};               // two a buffer, in their order
  std::vector<std::string> names;   // of the buffers
};

inline constexpr uint64_t kBufferAlign = 256;
inline constexpr uint64_t kGuardBytes = 512;

// The least room that `buffers` need.
uint64_t layout_bytes(std::span<const LayoutBuffer> buffers);

// Spreads buffers over [base, base + room): order and gaps are drawn from `random`. At most
// kMaxGuards / 2 buffers; `room` is at least layout_bytes.
Layout lay_out(std::span<const LayoutBuffer> buffers, uint64_t base, uint64_t room,
               uint64_t guard_seed, LayoutRandom& random);

// Buffer and side of guard `index`: "before output 'output'".
std::string guard_place(const Layout& layout, uint64_t index);

}  // namespace fib
