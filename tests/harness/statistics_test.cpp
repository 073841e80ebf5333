#include "harness/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace fib {
namespace {

TEST(Quantile, InterpolatesBetweenSamples) {
  const std::vector<double> samples = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(samples, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(quantile(samples, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(samples, 1.0), 4.0);
  EXPECT_DOUBLE_EQ(quantile({}, 0.5), 0.0);
}

TEST(MedianInterval, HoldsTheMedianAndNarrowsWithSamples) {
  std::vector<double> few(11), many(1001);
  std::iota(few.begin(), few.end(), 0.0);
  std::iota(many.begin(), many.end(), 0.0);
  const MedianInterval wide = median_interval(few);
  EXPECT_DOUBLE_EQ(wide.median, 5.0);
  EXPECT_LT(wide.low, wide.median);
  EXPECT_GT(wide.high, wide.median);
  EXPECT_GT(wide.relative_half_width(), median_interval(many).relative_half_width());
}

TEST(MedianInterval, CoversTheTrueMedianAboutNinetyFivePercentOfTheTime) {
  std::mt19937_64 random(7);
  std::exponential_distribution<double> latency(1.0);  // skewed, as latencies are
  const double true_median = std::log(2.0);
  int covered = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> samples(30);
    for (double& sample : samples) sample = latency(random);
    const MedianInterval interval = median_interval(samples);
    covered += interval.low <= true_median && true_median <= interval.high;
  }
  EXPECT_GT(covered, kTrials * 0.93);
  EXPECT_LT(covered, kTrials * 0.995);
}

TEST(StoppingRule, StopsWhenTheIntervalIsNarrow) {
  StoppingRule rule(5, 100, 0.01, 60.0);
  for (int i = 0; i < 4; ++i) rule.add(1000.0);
  EXPECT_FALSE(rule.done(0.0)) << "too few samples";
  rule.add(1000.0);
  EXPECT_TRUE(rule.done(0.0));
}

TEST(StoppingRule, KeepsSamplingNoiseUntilALimit) {
  StoppingRule rule(5, 50, 0.01, 60.0);
  for (int i = 0; i < 49; ++i) rule.add(i % 2 == 0 ? 100.0 : 200.0);
  EXPECT_FALSE(rule.done(1.0));
  EXPECT_TRUE(rule.done(61.0)) << "out of time";
  rule.add(150.0);
  EXPECT_TRUE(rule.done(1.0)) << "enough samples";
}

TEST(StoppingRule, TakesLongerForTheLeastThatIsOfUse) {
  StoppingRule rule(20, 50, 0.01, 1.0, 6);
  EXPECT_FALSE(rule.done(20.0)) << "one at least";
  for (int i = 0; i < 5; ++i) rule.add(100.0);
  EXPECT_FALSE(rule.done(9.9));
  EXPECT_TRUE(rule.done(10.0)) << "out of patience";
  rule.add(100.0);
  EXPECT_FALSE(rule.done(0.9));
  EXPECT_TRUE(rule.done(1.0));
}

}  // namespace
}  // namespace fib
