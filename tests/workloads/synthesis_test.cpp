#include "workloads/synthesis.h"

#include <fib/philox.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace fib {
namespace {

int64_t sum(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

TEST(SkewedLengths, SumExactlyWithinBoundsForAnySeed) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Draws draws(seed, 0);
    const int64_t requests = 1 + draws.below(70);
    const int64_t maximum = 1 + draws.below(5000);
    std::vector<int64_t> minimum;
    for (int64_t i = 0; i < requests; ++i) minimum.push_back(draws.below(maximum + 1) / 2);
    const int64_t least = sum(minimum);
    const int64_t total = least + draws.below(maximum * requests - least + 1);
    const std::vector<int64_t> lengths = skewed_lengths(total, minimum, maximum, draws);
    ASSERT_EQ(sum(lengths), total) << "seed " << seed;
    for (size_t i = 0; i < lengths.size(); ++i) {
      ASSERT_GE(lengths[i], minimum[i]) << "seed " << seed;
      ASSERT_LE(lengths[i], maximum) << "seed " << seed;
    }
  }
}

TEST(SkewedLengths, AreSkewedAsTrafficIs) {
  Draws draws(11, 0);
  std::vector<int64_t> lengths = skewed_lengths(64'000, std::vector<int64_t>(64, 1), 64'000, draws);
  std::sort(lengths.begin(), lengths.end());
  EXPECT_GT(lengths.back(), 3 * lengths[32]) << "the longest of 64 is far above the median";
  EXPECT_LT(lengths[32], 1000) << "the median is below the mean";
}

TEST(SkewedLengths, NoRequestsAndNoTokens) {
  Draws draws(1, 0);
  EXPECT_TRUE(skewed_lengths(0, {}, 0, draws).empty());
  EXPECT_EQ(skewed_lengths(0, {0, 0}, 0, draws), (std::vector<int64_t>{0, 0}));
}

TEST(Offsets, AreRunningSums) {
  EXPECT_EQ(offsets_of({3, 0, 4}), (std::vector<int64_t>{0, 3, 3, 7}));
  EXPECT_EQ(lengths_of({0, 3, 3, 7}), (std::vector<int64_t>{3, 0, 4}));
}

void expect_sound_table(const std::vector<int64_t>& lengths, int64_t num_pages, uint64_t seed) {
  Draws draws(seed, 0);
  const std::vector<int64_t> table = page_table(lengths, num_pages, draws);
  const std::vector<int64_t> offsets = offsets_of(lengths);
  ASSERT_EQ(static_cast<int64_t>(table.size()), offsets.back());
  std::set<int64_t> used;
  for (size_t r = 0; r < lengths.size(); ++r) {
    const std::set<int64_t> own(table.begin() + offsets[r], table.begin() + offsets[r + 1]);
    ASSERT_EQ(static_cast<int64_t>(own.size()), lengths[r]) << "a page twice in request " << r;
    used.insert(own.begin(), own.end());
  }
  if (!used.empty()) {
    ASSERT_GE(*used.begin(), 0);
    ASSERT_LT(*used.rbegin(), num_pages);
  }
  // Shared only as far as it must be.
  ASSERT_EQ(static_cast<int64_t>(used.size()), std::min(offsets.back(), num_pages));
}

TEST(PageTable, DistinctWithinARequestAndInRange) {
  expect_sound_table({5, 0, 9, 1}, 100, 1);
  expect_sound_table({5, 0, 9, 1}, 15, 2);
  expect_sound_table({5, 0, 9, 1}, 12, 3);  // three pages shared
  expect_sound_table({5, 5, 5, 5}, 5, 4);   // all the same
  expect_sound_table({}, 5, 5);
  expect_sound_table({0}, 0, 6);
  for (uint64_t seed = 10; seed < 60; ++seed) {
    Draws draws(seed, 1);
    std::vector<int64_t> lengths;
    for (int i = 0; i < 20; ++i) lengths.push_back(draws.below(300));
    const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    expect_sound_table(lengths, longest + draws.below(sum(lengths)), seed);
  }
}

TEST(PageTable, SharedPagesAreAPrefix) {
  Draws draws(3, 0);
  const std::vector<int64_t> table = page_table({10, 6}, 12, draws);  // four saved
  EXPECT_TRUE(std::equal(table.begin() + 10, table.begin() + 14, table.begin()));
}

TEST(LastPageLengths, HoldTheQueriesAndStayInThePage) {
  for (uint64_t seed = 1; seed < 200; ++seed) {
    Draws draws(seed, 0);
    const std::vector<int64_t> pages = {1, 3, 0, 2};
    const std::vector<int64_t> tokens = {16, 35, 0, 1};
    const std::vector<int64_t> last = last_page_lengths(pages, tokens, 16, draws);
    for (size_t i = 0; i < pages.size(); ++i) {
      ASSERT_GE(last[i], 1);
      ASSERT_LE(last[i], 16);
      ASSERT_GE((pages[i] - 1) * 16 + last[i], tokens[i]) << "request " << i << " seed " << seed;
    }
    ASSERT_EQ((pages[2] - 1) * 16 + last[2], 0);
  }
}

TEST(ExpertIds, DistinctInARowAndSkewed) {
  Draws draws(5, 0);
  const int64_t tokens = 2000, top_k = 8, experts = 128;
  const std::vector<int64_t> ids = expert_ids(tokens, top_k, experts, draws);
  std::map<int64_t, int> count;
  for (int64_t t = 0; t < tokens; ++t) {
    std::set<int64_t> row(ids.begin() + t * top_k, ids.begin() + (t + 1) * top_k);
    ASSERT_EQ(row.size(), 8u);
    ASSERT_GE(*row.begin(), 0);
    ASSERT_LT(*row.rbegin(), experts);
    for (const int64_t id : row) ++count[id];
  }
  std::vector<int> counts;
  for (const auto& [id, n] : count) counts.push_back(n);
  std::sort(counts.begin(), counts.end());
  EXPECT_GT(counts.back(), 4 * counts.front());
}

TEST(ExpertIds, AllExpertsOfATinyModel) {
  Draws draws(6, 0);
  std::vector<int64_t> ids = expert_ids(1, 4, 4, draws);
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(ExpertWeights, PositiveFallingAndSummingToOne) {
  Draws draws(7, 0);
  const std::vector<double> weights = expert_weights(500, 8, draws);
  for (size_t t = 0; t < 500; ++t) {
    const auto row = weights.begin() + static_cast<int64_t>(t) * 8;
    EXPECT_NEAR(std::accumulate(row, row + 8, 0.0), 1.0, 1e-12);
    EXPECT_TRUE(std::is_sorted(row, row + 8, std::greater<>()));
    EXPECT_GT(row[7], 0.0);
  }
}

TEST(DistinctIds, AreDistinct) {
  Draws draws(8, 0);
  const std::vector<int64_t> ids = distinct_ids(50, 50, draws);
  EXPECT_EQ(std::set<int64_t>(ids.begin(), ids.end()).size(), 50u);
  EXPECT_EQ(*std::max_element(ids.begin(), ids.end()), 49);
  EXPECT_TRUE(distinct_ids(0, 0, draws).empty());
}

TEST(AnyIds, StayBelowTheLimitAndRepeat) {
  Draws draws(9, 0);
  const std::vector<int64_t> ids = any_ids(200, 50, draws);
  EXPECT_EQ(*std::min_element(ids.begin(), ids.end()), 0);
  EXPECT_EQ(*std::max_element(ids.begin(), ids.end()), 49);
  EXPECT_TRUE(any_ids(0, 0, draws).empty());
}

TEST(Choices, TakeEveryValueAboutAsOften) {
  Draws draws(10, 0);
  const std::vector<double> chosen = choices(900, {0.0, 0.5, -1.0}, draws);
  for (const double value : {0.0, 0.5, -1.0}) {
    EXPECT_NEAR(std::count(chosen.begin(), chosen.end(), value), 300, 75);  // five deviations
  }
}

// A structure seed means the same traffic on every machine: these numbers may never change.
TEST(Synthesis, IsPinned) {
  Draws draws(42, 0);
  EXPECT_EQ(draws.bits(), philox_element_bits(0, 0, 42));
  Draws lengths(42, 1);
  EXPECT_EQ(skewed_lengths(100, {1, 1, 1, 1}, 100, lengths),
            (std::vector<int64_t>{12, 28, 26, 34}));
  Draws pages(42, 2);
  EXPECT_EQ(page_table({3, 4}, 20, pages), (std::vector<int64_t>{12, 13, 14, 8, 9, 10, 11}));
  Draws experts(42, 3);
  EXPECT_EQ(expert_ids(1, 4, 16, experts), (std::vector<int64_t>{11, 10, 15, 5}));
}

}  // namespace
}  // namespace fib
