#include "harness/statistics.h"

#include <algorithm>
#include <cmath>

namespace fib {

namespace {
constexpr double kPatience = 10.0;  // times the time limit, for the least there has to be
}  // namespace

double MedianInterval::relative_half_width() const {
  return median > 0.0 ? (high - low) / 2.0 / median : 0.0;
}

double quantile(std::span<const double> samples, double q) {
  if (samples.empty()) return 0.0;
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  const double position = q * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = position - static_cast<double>(below);
  return sorted[below] + part * (sorted[above] - sorted[below]);
}

MedianInterval median_interval(std::span<const double> samples) {
  if (samples.empty()) return {};
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  const double n = static_cast<double>(sorted.size());
  // Ranks that hold the median with 95 % probability whatever the distribution: the number of
  // samples below it is binomial(n, 1/2), by its normal approximation.
  const double spread = 1.959964 * std::sqrt(n) / 2.0;
  const auto rank = [&](double r) {
    return sorted[static_cast<size_t>(std::clamp(r, 0.0, n - 1.0))];
  };
  return MedianInterval{.median = quantile(sorted, 0.5),
                        .low = rank(std::floor(n / 2.0 - spread)),
                        .high = rank(std::ceil(n / 2.0 + spread))};
}

StoppingRule::StoppingRule(int min_samples, int max_samples, double target_relative_ci,
                           double max_seconds, int least_samples)
    : min_samples_(min_samples),
      max_samples_(max_samples),
      target_relative_ci_(target_relative_ci),
      max_seconds_(max_seconds),
      least_samples_(least_samples) {}

void StoppingRule::add(double sample) { samples_.push_back(sample); }

bool StoppingRule::done(double elapsed_s) const {
  const int count = static_cast<int>(samples_.size());
  if (count >= max_samples_) return true;
  if (count < least_samples_) return elapsed_s >= kPatience * max_seconds_ && count > 0;
  if (count < min_samples_) return elapsed_s >= max_seconds_;
  return elapsed_s >= max_seconds_ ||
         median_interval(samples_).relative_half_width() <= target_relative_ci_;
}

}  // namespace fib
