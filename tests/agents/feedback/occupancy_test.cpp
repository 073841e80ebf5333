#include "agents/feedback/occupancy.h"

#include <gtest/gtest.h>

namespace fib::agents {
namespace {

// Against the numbers that the CUDA Occupancy Calculator gives.
TEST(Occupancy, OnHopperIsLimitedByWhatRunsOutFirst) {
  const auto threads = theoretical_occupancy("sm_90a", {.threads = 256, .registers = 32});
  ASSERT_TRUE(threads);
  EXPECT_EQ(threads->blocks, 8);
  EXPECT_DOUBLE_EQ(threads->share, 1.0);
  EXPECT_EQ(threads->limited_by, "threads");

  const auto registers = theoretical_occupancy("sm_90a", {.threads = 384, .registers = 168});
  ASSERT_TRUE(registers);
  EXPECT_EQ(registers->blocks, 1);
  EXPECT_DOUBLE_EQ(registers->share, 12.0 / 64.0);
  EXPECT_EQ(registers->limited_by, "registers");

  const auto shared =
      theoretical_occupancy("sm_90a", {.threads = 128, .registers = 64, .shared_bytes = 100 << 10});
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->blocks, 2);
  EXPECT_DOUBLE_EQ(shared->share, 8.0 / 64.0);
  EXPECT_EQ(shared->limited_by, "shared memory");

  const auto blocks = theoretical_occupancy("sm_90", {.threads = 32, .registers = 16});
  ASSERT_TRUE(blocks);
  EXPECT_EQ(blocks->blocks, 32);
  EXPECT_DOUBLE_EQ(blocks->share, 0.5);
  EXPECT_EQ(blocks->limited_by, "blocks");
}

TEST(Occupancy, OfConsumerCardsDiffers) {
  const auto ada = theoretical_occupancy("sm_89", {.threads = 256, .registers = 40});
  ASSERT_TRUE(ada);
  EXPECT_EQ(ada->blocks, 6);
  EXPECT_DOUBLE_EQ(ada->share, 1.0);
}

TEST(Occupancy, IsNotMadeUp) {
  EXPECT_FALSE(theoretical_occupancy("sm_90a", {.threads = 128, .shared_bytes = 300 << 10}));
  EXPECT_FALSE(theoretical_occupancy("sm_90a", {.threads = 4096}));
  EXPECT_FALSE(theoretical_occupancy("sm_90a", {.threads = 0}));
  EXPECT_FALSE(theoretical_occupancy("x86-64 avx512", {.threads = 128}));
  EXPECT_FALSE(theoretical_occupancy("", {.threads = 128}));
}

}  // namespace
}  // namespace fib::agents
