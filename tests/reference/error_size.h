#pragma once

// How large an honest implementation's error is beside the exact values.

#include <gtest/gtest.h>

#include <cmath>

#include "reference/float_buffer.h"
#include "signatures/base/dtype.h"

namespace fib {

inline double relative_rms(const FloatBuffer& values, const FloatBuffer& exact) {
  double error = 0, size = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error +=
        (static_cast<double>(values[i]) - exact[i]) * (static_cast<double>(values[i]) - exact[i]);
    size += static_cast<double>(exact[i]) * exact[i];
  }
  return std::sqrt(error / size);
}

// One rounding to `dtype` has a relative error uniform within half a unit in the last place; over
// a binade's values that is between 1/4 and 1 of unit_roundoff / sqrt(3) in RMS.
inline void expect_rounding_error(const FloatBuffer& honest, const FloatBuffer& exact,
                                  DType dtype, double roundings = 1.0) {
  const double unit = unit_roundoff(dtype) / std::sqrt(3.0);
  const double error = relative_rms(honest, exact);
  EXPECT_GT(error, 0.25 * unit);
  EXPECT_LT(error, 1.1 * unit * std::sqrt(roundings));
}

}  // namespace fib
