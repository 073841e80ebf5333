#pragma once

// A stream of chance that is a function of its seed alone.

#include <cmath>
#include <cstdint>
#include <numbers>

#include "harness/abi/fib/philox.h"

namespace fib::agents {

class Draws {
 public:
  explicit Draws(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  uint64_t bits() { return philox_element_bits(count_++, stream_, seed_); }
  size_t below(size_t count) { return static_cast<size_t>(bits() % count); }  // count >= 1
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }  // [0, 1)
  double normal() {  // mean 0, standard deviation 1
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }
  bool happens(double probability) { return uniform() < probability; }

 private:
  uint64_t seed_, stream_, count_ = 0;
};

}  // namespace fib::agents
