#include "harness/paired.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "harness/statistics.h"

namespace fib {
namespace {

constexpr double kTailProbability = 0.025;  // on each side

// What a session notes for a call too short to be told from no call at all: no measurement.
constexpr double kUnmeasurableNs = 1.0;

// The largest k for which at most k - 1 of n fair coins show heads with no more than the tail's
// probability: then the k-th smallest and the k-th largest of n values enclose the median. 0: n is
// too small.
size_t sign_test_rank(size_t n) {
  double log_probability = -static_cast<double>(n) * std::log(2.0);  // of k heads
  double at_most = 0.0;
  for (size_t k = 0; k < n; ++k) {
    at_most += std::exp(log_probability);
    if (at_most > kTailProbability) return k;
    log_probability += std::log(static_cast<double>(n - k) / static_cast<double>(k + 1));
  }
  return 0;  // n is 0
}

struct LogRatio {
  double median = 0.0, low = 0.0, high = 0.0;

  double reach() const { return std::max(std::abs(low), std::abs(high)); }  // from no difference
};

std::optional<LogRatio> log_ratio(std::vector<double> ratios) {
  const size_t rank = sign_test_rank(ratios.size());
  if (rank == 0) return std::nullopt;
  std::sort(ratios.begin(), ratios.end());
  return LogRatio{.median = quantile(ratios, 0.5),
                  .low = ratios[rank - 1],
                  .high = ratios[ratios.size() - rank]};
}

PairedResult result_of(const LogRatio& speedup, double floor) {
  if (speedup.low > floor) return PairedResult::kFaster;
  if (speedup.high < -floor) return PairedResult::kSlower;
  if (speedup.reach() <= std::min(floor, std::log1p(kWidestSame))) return PairedResult::kSame;
  return PairedResult::kAmbiguous;
}

}  // namespace

std::optional<PairedEstimate> judge_pair(std::span<const Sample> samples, double least_floor) {
  std::map<uint32_t, std::array<double, kPairContenders>> rounds;
  for (const Sample& sample : samples) {
    if (sample.contender < kPairContenders) rounds[sample.round][sample.contender] = sample.time_ns;
  }
  std::vector<double> speedups, controls;
  for (const auto& [round, time_ns] : rounds) {
    if (!std::ranges::all_of(time_ns, [](double time) { return time > kUnmeasurableNs; })) continue;
    speedups.push_back(std::log(time_ns[kPairIncumbent] / time_ns[kPairCandidate]));
    controls.push_back(std::log(time_ns[kPairIncumbent] / time_ns[kPairControl]));
  }
  PairedEstimate estimate{.rounds = static_cast<int64_t>(speedups.size())};
  const auto speedup = log_ratio(std::move(speedups));
  const auto control = log_ratio(std::move(controls));
  if (!speedup || !control) return std::nullopt;
  const double floor =
      std::max({std::log1p(least_floor), std::log1p(kLeastNoiseFloor), control->reach()});
  estimate.result = result_of(*speedup, floor);
  estimate.speedup = std::exp(speedup->median);
  estimate.speedup_low = std::exp(speedup->low);
  estimate.speedup_high = std::exp(speedup->high);
  estimate.noise_floor = std::expm1(floor);
  return estimate;
}

std::optional<SpeedupEstimate> estimate_speedup(std::span<const Sample> candidate,
                                                std::span<const Sample> incumbent) {
  std::map<uint32_t, double> incumbent_ns;
  for (const Sample& sample : incumbent) incumbent_ns[sample.round] = sample.time_ns;
  std::vector<double> ratios;
  for (const Sample& sample : candidate) {
    const auto other = incumbent_ns.find(sample.round);
    if (other == incumbent_ns.end()) continue;
    if (sample.time_ns <= kUnmeasurableNs || other->second <= kUnmeasurableNs) continue;
    ratios.push_back(std::log(other->second / sample.time_ns));
  }
  const auto rounds = static_cast<int64_t>(ratios.size());
  const auto speedup = log_ratio(std::move(ratios));
  if (!speedup) return std::nullopt;
  return SpeedupEstimate{.speedup = std::exp(speedup->median),
                         .speedup_low = std::exp(speedup->low),
                         .speedup_high = std::exp(speedup->high),
                         .rounds = rounds};
}

MeasureConfig paired_config(const MeasureConfig& alone) {
  MeasureConfig config = alone;
  config.modes = {TimingMode::kCold};
  // A ratio is known less well than either of its times.
  config.min_samples = 2 * alone.min_samples;
  config.max_samples = 2 * alone.max_samples;
  config.target_relative_ci = alone.target_relative_ci / 4.0;
  config.max_seconds_per_mode = alone.max_seconds_per_mode * kPairContenders;
  return config;
}

}  // namespace fib
