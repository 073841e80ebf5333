#include "harness/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

namespace fib {
namespace {

constexpr int64_t kChunk = 4096;  // elements converted at a time
constexpr double kRelativeErrorFloor = 1e-8;
constexpr double kRowScaleFloor = 1e-3;  // of the whole output's RMS

bool same_nonfinite(float candidate, float reference) {
  if (std::isnan(reference)) return std::isnan(candidate);
  return candidate == reference;  // infinities of one sign
}

int histogram_bin(double normalised_error) {
  if (!(normalised_error > 0.0)) return 0;
  if (!std::isfinite(normalised_error)) return kErrorBins - 1;
  return std::clamp(std::ilogb(normalised_error) + kErrorBins, 0, kErrorBins - 1);
}

// Errors of [first, first + values.size()), where `values` are the candidate's.
ErrorStats compare_chunk(std::span<const float> values, int64_t first,
                         const ReferenceValues& reference, double max_error_rms) {
  ErrorStats stats;
  stats.count = static_cast<int64_t>(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t index = first + static_cast<int64_t>(i);
    const float expected = reference.values[index];
    const float actual = values[i];
    if (!std::isfinite(expected) || !std::isfinite(actual)) {
      if (!same_nonfinite(actual, expected)) {
        ++stats.nonfinite_mismatches;
        if (stats.first_bad_index < 0) stats.first_bad_index = index;
      }
      continue;
    }
    const double error = std::abs(static_cast<double>(actual) - expected);
    const double scale = reference.row_scale[index / reference.row_length];
    const double normalised =
        error == 0.0 ? 0.0 : (scale > 0.0 ? error / scale : std::numeric_limits<double>::infinity());
    stats.sum_squared_error += error * error;
    stats.sum_squared_reference += static_cast<double>(expected) * expected;
    stats.max_absolute_error = std::max(stats.max_absolute_error, error);
    stats.max_relative_error = std::max(
        stats.max_relative_error, error / (std::abs(static_cast<double>(expected)) + kRelativeErrorFloor));
    stats.max_normalised_error = std::max(stats.max_normalised_error, normalised);
    ++stats.histogram[histogram_bin(normalised)];
    if (normalised > max_error_rms) {
      ++stats.elements_over_bound;
      if (stats.first_bad_index < 0) stats.first_bad_index = index;
    }
  }
  return stats;
}

}  // namespace

double ErrorStats::reference_rms() const {
  return count > 0 ? std::sqrt(sum_squared_reference / static_cast<double>(count)) : 0.0;
}

double ErrorStats::error_rms() const {
  return count > 0 ? std::sqrt(sum_squared_error / static_cast<double>(count)) : 0.0;
}

double ErrorStats::relative_rms_error() const {
  if (sum_squared_error == 0.0) return 0.0;
  if (sum_squared_reference == 0.0) return std::numeric_limits<double>::infinity();
  return std::sqrt(sum_squared_error / sum_squared_reference);
}

void ErrorStats::merge(const ErrorStats& other) {
  count += other.count;
  nonfinite_mismatches += other.nonfinite_mismatches;
  elements_over_bound += other.elements_over_bound;
  sum_squared_error += other.sum_squared_error;
  sum_squared_reference += other.sum_squared_reference;
  max_absolute_error = std::max(max_absolute_error, other.max_absolute_error);
  max_relative_error = std::max(max_relative_error, other.max_relative_error);
  max_normalised_error = std::max(max_normalised_error, other.max_normalised_error);
  for (int b = 0; b < kErrorBins; ++b) histogram[b] += other.histogram[b];
  if (first_bad_index < 0 || (other.first_bad_index >= 0 && other.first_bad_index < first_bad_index)) {
    first_bad_index = other.first_bad_index;
  }
}

ReferenceValues make_reference_values(FloatBuffer values, int64_t row_length,
                                      const ParallelFor& parallel_for) {
  ReferenceValues reference;
  reference.row_length = std::max<int64_t>(row_length, 1);
  const int64_t count = static_cast<int64_t>(values.size());
  const int64_t rows = (count + reference.row_length - 1) / reference.row_length;
  reference.row_scale.resize(rows);
  std::mutex mutex;
  double total = 0.0;
  int64_t total_finite = 0;
  parallel_for(rows, [&](int64_t first_row, int64_t last_row) {
    double chunk_sum = 0.0;
    int64_t chunk_finite = 0;
    for (int64_t row = first_row; row < last_row; ++row) {
      const int64_t begin = row * reference.row_length;
      const int64_t end = std::min(begin + reference.row_length, count);
      double sum = 0.0;
      int64_t finite = 0;
      for (int64_t i = begin; i < end; ++i) {
        if (!std::isfinite(values[i])) continue;
        sum += static_cast<double>(values[i]) * values[i];
        ++finite;
      }
      reference.row_scale[row] =
          finite > 0 ? static_cast<float>(std::sqrt(sum / static_cast<double>(finite))) : 0.0f;
      chunk_sum += sum;
      chunk_finite += finite;
    }
    std::lock_guard lock(mutex);
    total += chunk_sum;
    total_finite += chunk_finite;
  });
  if (total_finite > 0) reference.rms = std::sqrt(total / static_cast<double>(total_finite));
  const float floor = static_cast<float>(kRowScaleFloor * reference.rms);
  for (float& scale : reference.row_scale) scale = std::max(scale, floor);
  reference.values = std::move(values);
  return reference;
}

void accept_only_exact(ReferenceValues& reference) {
  std::fill(reference.row_scale.begin(), reference.row_scale.end(), 0.0f);
}

ErrorStats compare_output(DType dtype, std::span<const std::byte> candidate,
                          const ReferenceValues& reference, double max_error_rms,
                          const ParallelFor& parallel_for) {
  const int64_t count = static_cast<int64_t>(reference.values.size());
  ErrorStats total;
  std::mutex mutex;
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  parallel_for(chunks, [&](int64_t begin, int64_t end) {
    ErrorStats local;
    std::vector<float> values;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      values.resize(std::min(kChunk, count - first));
      load_floats(dtype, candidate.data(), first, values);
      local.merge(compare_chunk(values, first, reference, max_error_rms));
    }
    std::lock_guard lock(mutex);
    total.merge(local);
  });
  return total;
}

double honest_ratio(const ErrorStats& candidate, const ErrorStats& honest, DType dtype) {
  const double floor = unit_roundoff(dtype) / 4.0;
  const double yardstick = std::max(honest.relative_rms_error(), floor);
  return yardstick > 0.0 ? candidate.relative_rms_error() / yardstick
                         : (candidate.sum_squared_error == 0.0
                                ? 0.0
                                : std::numeric_limits<double>::infinity());
}

}  // namespace fib
