#pragma once

// Robust statistics of latency samples.

#include <cstdint>
#include <span>
#include <vector>

namespace fib {

struct MedianInterval {
  double median = 0.0;
  double low = 0.0;  // distribution-free 95 % interval from order statistics
  double high = 0.0;
  double relative_half_width() const;  // (high - low) / 2 / median
};

MedianInterval median_interval(std::span<const double> samples);
double quantile(std::span<const double> samples, double q);  // linear interpolation, 0 if empty

// Pairs of samples that give the median of their ratios an interval of 95 %.
inline constexpr int kLeastPairs = 6;

// Decides when enough has been sampled. Fed in batches.
class StoppingRule {
 public:
  // Time up: it stops, with fewer than `min_samples` too, but goes on for up to ten times as long
  // while there are less than `least_samples`, below which the samples would be of no use.
  StoppingRule(int min_samples, int max_samples, double target_relative_ci, double max_seconds,
               int least_samples = 1);
  void add(double sample);
  // `elapsed_s` since the first sample.
  bool done(double elapsed_s) const;
  std::span<const double> samples() const { return samples_; }

 private:
  int min_samples_;
  int max_samples_;
  double target_relative_ci_;
  double max_seconds_;
  int least_samples_;
  std::vector<double> samples_;
};

}  // namespace fib
