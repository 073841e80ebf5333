#pragma once

// Chance that depends on nothing but what it is asked for: the run's seed, the candidate's number
// and the purpose. Neither order nor threads nor a resume can change it.

#include <cstdint>

#include "harness/abi/fib/philox.h"

namespace fib::agents {

enum class ChanceFor : uint64_t { kProposal, kProposer, kParent, kParentWay, kControl };

inline uint64_t chance_bits(uint64_t seed, int64_t number, ChanceFor purpose) {
  return philox_element_bits(static_cast<fib_u64>(number), static_cast<fib_u64>(purpose), seed);
}

// Uniform in [0, 1).
inline double chance(uint64_t seed, int64_t number, ChanceFor purpose) {
  return static_cast<double>(chance_bits(seed, number, purpose) >> 11) * 0x1.0p-53;
}

}  // namespace fib::agents
