#pragma once

// Numbers about how far an output is from the reference; judging them is harness/judge.h's.
//
// Position-wise rule: NaN must meet NaN, +Inf +Inf, -Inf -Inf; anything else at such a position is
// a mismatch. Over the finite positions: RMS error, worst absolute error, worst relative error
// (against |ref| + 1e-8), a histogram of |error| / RMS(ref), and the first index over the bound.

#include <array>
#include <cstdint>
#include <span>

#include "reference/reference.h"
#include "signatures/base/dtype.h"

namespace fib {

inline constexpr int kErrorBins = 16;  // bin b: |error|/rms in [2^(b-16), 2^(b-15)); ends open

struct ErrorStats {
  int64_t count = 0;
  int64_t nonfinite_mismatches = 0;     // NaN/Inf positions that differ
  int64_t first_bad_index = -1;         // first mismatch or element over `element_bound`, -1: none
  int64_t elements_over_bound = 0;
  double sum_squared_error = 0.0;
  double sum_squared_reference = 0.0;
  double max_absolute_error = 0.0;
  double max_relative_error = 0.0;
  std::array<int64_t, kErrorBins> histogram{};

  double reference_rms() const;
  double error_rms() const;
  double relative_rms_error() const;  // error_rms / reference_rms; of an all-zero reference: 0 or inf
  void merge(const ErrorStats& other);
};

// RMS over the finite values: what `element_bound` is scaled by.
double finite_rms(std::span<const float> reference);

// `element_bound`: absolute; the caller multiplies max_error_rms by the RMS.
ErrorStats compare_output(DType dtype, std::span<const std::byte> candidate,
                          std::span<const float> reference, double element_bound,
                          const ParallelFor& parallel_for);

}  // namespace fib
