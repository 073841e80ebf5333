#pragma once

// Where an input's values come from, readable by slices: a reference never needs a whole 9 GB weight
// tensor in memory, because generated values are a function of seed and element index.

#include <cstdint>
#include <span>

#include "signatures/base/result.h"
#include "signatures/problem.h"

namespace fib {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const TensorDesc& desc() const = 0;
  // Elements [first, first + out.size()) as exact values of the dtype. Thread-safe.
  virtual void read(int64_t first, std::span<float> out) const = 0;     // floating dtypes, bool
  virtual void read(int64_t first, std::span<int64_t> out) const = 0;   // integer dtypes, bool
  // The stored bytes (float4 and bool as laid out in memory).
  virtual void read_bytes(int64_t first_byte, std::span<std::byte> out) const = 0;
  virtual double scalar() const = 0;  // host scalars and 0-D tensors
};

}  // namespace fib
