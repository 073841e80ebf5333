#include "runners/cpu/batch_overhead.h"

#include <gtest/gtest.h>

#include <vector>

namespace fib {
namespace {

TEST(BatchOverhead, IsOneOfTheShortest) {
  std::vector<double> empty;
  for (int i = 0; i < 31; ++i) empty.push_back(1200.0 + 10.0 * i);
  EXPECT_NEAR(batch_overhead_ns(empty), 1230.0, 1.0);
}

TEST(BatchOverhead, IsNoneOfThoseThatWaitedForAProcessor) {
  std::vector<double> empty(31, 30'000.0);  // most waited
  for (int i = 0; i < 6; ++i) empty[static_cast<size_t>(5 * i)] = 1200.0;
  EXPECT_DOUBLE_EQ(batch_overhead_ns(empty), 1200.0)
      << "a call of 2 us whose batches didn't wait would take no time";
}

}  // namespace
}  // namespace fib
