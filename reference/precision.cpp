#include "reference/precision.h"

#include <algorithm>
#include <bit>
#include <cmath>

// Compiled with -O3 -fopenmp-simd (reference/CMakeLists.txt), and for several instruction sets:
// the reference must not be what an evaluation waits for.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define FIB_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FIB_VECTOR_CLONES
#endif
#define FIB_INLINE inline __attribute__((always_inline))

namespace fib {
namespace {

template <class Real>
FIB_INLINE Real dot_of(const Real* x, const float* y, int64_t count) {
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += x[i] * static_cast<Real>(y[i]);
  return sum;
}

template <class Real>
FIB_INLINE Real sum_of_squares_of(const Real* x, int64_t count) {
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += x[i] * x[i];
  return sum;
}

template <class Real>
FIB_INLINE void add_scaled_to(Real* sum, Real scale, const float* x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sum[i] += scale * static_cast<Real>(x[i]);
}

// `kRows` rows at once, so that a loaded panel row is used as often.
template <int kRows, class Real>
FIB_INLINE void multiply_rows(const float* rows, int64_t row_stride, const Real* columns,
                              int64_t depth, Real* sums) {
  Real sum[kRows][kPanelWidth];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kPanelWidth; ++c) sum[r][c] = sums[r * kPanelWidth + c];
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Real* column = columns + k * kPanelWidth;
    for (int r = 0; r < kRows; ++r) {
      const Real x = static_cast<Real>(rows[r * row_stride + k]);
#pragma omp simd
      for (int c = 0; c < kPanelWidth; ++c) sum[r][c] += x * column[c];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kPanelWidth; ++c) sums[r * kPanelWidth + c] = sum[r][c];
  }
}

template <class Real>
FIB_INLINE void multiply_panel_of(const float* rows, int64_t row_stride, int64_t num_rows,
                                  const Real* columns, int64_t depth, Real* sums) {
  constexpr int kRows = 4;
  int64_t r = 0;
  for (; r + kRows <= num_rows; r += kRows) {
    multiply_rows<kRows>(rows + r * row_stride, row_stride, columns, depth, sums + r * kPanelWidth);
  }
  for (; r < num_rows; ++r) {
    multiply_rows<1>(rows + r * row_stride, row_stride, columns, depth, sums + r * kPanelWidth);
  }
}

// The common case of Honest::round, kept vectorisable. NaN keeps its sign and becomes quiet.
FIB_VECTOR_CLONES void round_to_bfloat16(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
    const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    values[i] = std::bit_cast<float>(is_nan ? (bits | 0x00400000) & 0xFFFF0000 : rounded);
  }
}

}  // namespace

void Honest::round(DType dtype, std::span<float> values) {
  if (dtype == DType::kFloat32) return;
  if (dtype == DType::kBFloat16) {
    round_to_bfloat16(values.data(), static_cast<int64_t>(values.size()));
    return;
  }
  for (float& value : values) value = static_cast<float>(round_to(dtype, value));
}

FIB_VECTOR_CLONES double dot(const double* x, const float* y, int64_t count) {
  return dot_of(x, y, count);
}
FIB_VECTOR_CLONES float dot(const float* x, const float* y, int64_t count) {
  return dot_of(x, y, count);
}
FIB_VECTOR_CLONES double sum_of_squares(const double* x, int64_t count) {
  return sum_of_squares_of(x, count);
}
FIB_VECTOR_CLONES float sum_of_squares(const float* x, int64_t count) {
  return sum_of_squares_of(x, count);
}
FIB_VECTOR_CLONES void add_scaled(double* sum, double scale, const float* x, int64_t count) {
  add_scaled_to(sum, scale, x, count);
}
FIB_VECTOR_CLONES void add_scaled(float* sum, float scale, const float* x, int64_t count) {
  add_scaled_to(sum, scale, x, count);
}
FIB_VECTOR_CLONES void dequantise_int4(const uint32_t* words, const float* scales, int64_t count,
                                       float* out) {
  for (int64_t word = 0; word < count / 8; ++word) {
    const float scale = scales[word / 4];
    for (int i = 0; i < 8; ++i) {
      out[8 * word + i] =
          static_cast<float>(static_cast<int>(words[word] >> 4 * i & 15) - 8) * scale;
    }
  }
}
FIB_VECTOR_CLONES void multiply_panel(const float* rows, int64_t row_stride, int64_t num_rows,
                                      const double* columns, int64_t depth, double* sums) {
  multiply_panel_of(rows, row_stride, num_rows, columns, depth, sums);
}
FIB_VECTOR_CLONES void multiply_panel(const float* rows, int64_t row_stride, int64_t num_rows,
                                      const float* columns, int64_t depth, float* sums) {
  multiply_panel_of(rows, row_stride, num_rows, columns, depth, sums);
}

}  // namespace fib
