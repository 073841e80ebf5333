#pragma once

// Numbers about how far an output is from the reference; judging them is harness/judge.h's.
//
// Position-wise rule: NaN must meet NaN, +Inf +Inf, -Inf -Inf; anything else at such a position is
// a mismatch. Over the finite positions: RMS error over the whole output, worst absolute error, worst
// relative error (against |ref| + 1e-8), and the normalised error |error| / scale of its row: its
// histogram and the first index over the bound. A row is the last axis; its scale is its RMS in the
// reference, at least 1e-3 of the output's RMS, so that a wrong row of small values can't hide behind
// large ones. Scale 0 (an all-zero output) accepts exact zeros only.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "reference/reference.h"
#include "signatures/base/dtype.h"

namespace fib {

inline constexpr int kErrorBins = 16;  // bin b: normalised error in [2^(b-16), 2^(b-15)); ends open

struct ErrorStats {
  int64_t count = 0;
  int64_t nonfinite_mismatches = 0;     // NaN/Inf positions that differ
  int64_t first_bad_index = -1;         // first mismatch or element over the bound, -1: none
  int64_t elements_over_bound = 0;
  double sum_squared_error = 0.0;
  double sum_squared_reference = 0.0;
  double max_absolute_error = 0.0;
  double max_relative_error = 0.0;
  double max_normalised_error = 0.0;
  std::array<int64_t, kErrorBins> histogram{};

  double reference_rms() const;
  double error_rms() const;
  double relative_rms_error() const;  // error_rms / reference_rms; of an all-zero reference: 0 or inf
  void merge(const ErrorStats& other);
};

// The exact values of one output with the scales that errors are measured by.
struct ReferenceValues {
  FloatBuffer values;             // row-major
  int64_t row_length = 1;         // last axis; 1 for 0-D outputs
  std::vector<float> row_scale;   // one a row, see above
  double rms = 0.0;               // over the finite values
};
ReferenceValues make_reference_values(FloatBuffer values, int64_t row_length,
                                      const ParallelFor& parallel_for);
// Sets every scale to 0, so that nothing but the value itself is right: for ids and other integers,
// of which a near miss is as wrong as any other.
void accept_only_exact(ReferenceValues& reference);

// `max_error_rms`: bound of the normalised error (Tolerance::max_error_rms).
ErrorStats compare_output(DType dtype, std::span<const std::byte> candidate,
                          const ReferenceValues& reference, double max_error_rms,
                          const ParallelFor& parallel_for);

// The candidate's relative RMS error over the honest implementation's on the same inputs. The
// honest error counts as at least a quarter of the dtype's unit roundoff, below which it is luck.
double honest_ratio(const ErrorStats& candidate, const ErrorStats& honest, DType dtype);

}  // namespace fib
