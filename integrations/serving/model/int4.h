#pragma once

// Rounding matrices to packed INT4: symmetric, one bfloat16 scale for 32 weights along the input.

#include <cstdint>
#include <span>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

enum class ScaleRule {
  // Largest magnitude / 7.5: what quantisation-aware training by that rule has learnt to expect,
  // the bundled model's for one.
  kMaxAbs,
  // Of some scales about that one, the one with the least squared error.
  kLeastError,
};

struct Int4Matrix {
  std::vector<uint32_t> words;  // [rows, columns / 8], nibble i of a word is column 8 w + i, plus 8
  std::vector<uint16_t> scales;               // bfloat16 [rows, columns / 32]
  double squared_error = 0, squared_sum = 0;  // of the rounding, of the weights
};

// `weights` is bfloat16 [rows, columns]; `columns` a multiple of 32. kInvalidInput where a weight
// is not finite.
Result<Int4Matrix> quantize_int4(std::span<const uint16_t> weights, int64_t columns,
                                 ScaleRule rule);

}  // namespace fib
