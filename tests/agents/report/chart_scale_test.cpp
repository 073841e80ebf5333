#include "agents/report/chart_scale.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace fib::agents {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> labels_of(const std::vector<Tick>& ticks) {
  std::vector<std::string> labels;
  for (const Tick& tick : ticks) labels.push_back(tick.label);
  return labels;
}

TEST(CountTicks, AreRoundNumbers) {
  EXPECT_THAT(labels_of(count_ticks(0, 10)), ElementsAre("0"));
  EXPECT_THAT(labels_of(count_ticks(3, 10)), ElementsAre("0", "1", "2", "3"));
  EXPECT_THAT(labels_of(count_ticks(203, 5)), ElementsAre("0", "50", "100", "150", "200"));
}

TEST(LogScale, RatiosAreDistances) {
  const LogScale scale(0.5, 2.0, 100.0, 0.0);
  EXPECT_NEAR(scale.position(0.5), 100.0, 1e-9);
  EXPECT_NEAR(scale.position(1.0), 50.0, 1e-9);
  EXPECT_NEAR(scale.position(2.0), 0.0, 1e-9);
}

TEST(LogScale, DrawsWhatLiesOutsideAtTheNearerEnd) {
  const LogScale scale(0.5, 2.0, 100.0, 0.0);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double low : {0.1, 0.0, -1.0, -kInfinity, std::nan("")}) {
    EXPECT_EQ(scale.position(low), 100.0) << low;
  }
  EXPECT_EQ(scale.position(5.0), 0.0);
  EXPECT_EQ(scale.position(kInfinity), 0.0);
}

TEST(LogScale, TicksSuitTheRange) {
  EXPECT_THAT(labels_of(LogScale(0.97, 1.03, 0, 1).ticks()),
              ElementsAre("0.97x", "0.98x", "0.99x", "1.00x", "1.01x", "1.02x", "1.03x"));
  EXPECT_THAT(labels_of(LogScale(0.9, 2.2, 0, 1).ticks()),
              ElementsAre("1.0x", "1.2x", "1.4x", "1.6x", "1.8x", "2.0x", "2.2x"));
  EXPECT_THAT(labels_of(LogScale(0.9, 8, 0, 1).ticks()),
              ElementsAre("1x", "1.5x", "2x", "3x", "5x", "7x"));
  EXPECT_THAT(labels_of(LogScale(0.9, 60, 0, 1).ticks()),
              ElementsAre("1x", "2x", "5x", "10x", "20x", "50x"));
  EXPECT_THAT(labels_of(LogScale(0.9, 20000, 0, 1).ticks()),
              ElementsAre("1x", "10x", "100x", "1000x", "10000x"));
}

}  // namespace
}  // namespace fib::agents
