#pragma once

// The two ways in which every reference computes, as policies: `Exact` and `Honest`
// (Precision in reference.h), and the few vector loops that all references share.

#include <cstdint>
#include <span>

#include "reference/reference.h"
#include "signatures/base/dtype.h"

namespace fib {

struct Exact {
  using Real = double;  // of accumulators and intermediates
  template <class T>
  static void round(DType, std::span<T>) {}
};
struct Honest {
  using Real = float;
  // What storing `values` as `dtype` and reading them back gives.
  static void round(DType dtype, std::span<float> values);
};

// body(Exact{}) or body(Honest{}).
template <class Body>
auto with_precision(Precision precision, const Body& body) {
  return precision == Precision::kExact ? body(Exact{}) : body(Honest{});
}

// sum of x[i] * y[i], accumulated in the type of x.
double dot(const double* x, const float* y, int64_t count);
float dot(const float* x, const float* y, int64_t count);
double sum_of_squares(const double* x, int64_t count);
float sum_of_squares(const float* x, int64_t count);
// sum[i] += scale * x[i].
void add_scaled(double* sum, double scale, const float* x, int64_t count);
void add_scaled(float* sum, float scale, const float* x, int64_t count);

// Eight int4 a word, lowest nibble first, stored as value + 8; one scale for 32 of them. Exact: the
// product of a 4-bit and an 8-bit significand.
void dequantise_int4(const uint32_t* words, const float* scales, int64_t count, float* out);

// sums[r][c] += sum over k of rows[r][k] * columns[k][c], for `num_rows` rows `row_stride` apart
// and a packed panel of kPanelWidth columns: the inner kernel of a blocked matrix product.
inline constexpr int kPanelWidth = 16;
void multiply_panel(const float* rows, int64_t row_stride, int64_t num_rows, const double* columns,
                    int64_t depth, double* sums);
void multiply_panel(const float* rows, int64_t row_stride, int64_t num_rows, const float* columns,
                    int64_t depth, float* sums);

}  // namespace fib
