#include "integrations/package/export/buckets.h"

#include <algorithm>

#include "tests/integrations/package/export/winners_fixture.h"

namespace fib::testing {
namespace {

using Axes = std::vector<std::string>;

TEST(Buckets, ArePowersOfTwo) {
  const std::pair<int64_t, int64_t> ranges[] = {{0, 0}, {1, 1}, {2, 2}, {3, 4}, {5, 8}, {9, 16}};
  for (size_t bucket = 0; bucket < std::size(ranges); ++bucket) {
    const int number = static_cast<int>(bucket);
    EXPECT_EQ(lowest_size(number), ranges[bucket].first);
    EXPECT_EQ(highest_size(number), ranges[bucket].second);
    EXPECT_EQ(size_bucket(ranges[bucket].first), number);
    EXPECT_EQ(size_bucket(ranges[bucket].second), number);
  }
  EXPECT_EQ(highest_size(size_bucket((int64_t{1} << 40) + 1)), int64_t{1} << 41);
}

TEST(Buckets, AxesThatSayHowMuchWorkACallIs) {
  EXPECT_EQ(bucket_axes(*signature("rmsnorm_h64")), Axes{"batch_size"});
  EXPECT_EQ(bucket_axes(*signature("gqa_paged_decode_h4_kv2_d64_ps1")), Axes{"batch_size"});
  EXPECT_EQ(bucket_axes(*signature("gqa_paged_prefill_causal_h4_kv2_d64_ps1")),
            (Axes{"len_indptr", "total_q", "num_kv_indices"}));
  EXPECT_EQ(bucket_axes(*signature("gqa_paged_prefill_causal_h4_kv2_d64_ps16")),
            (Axes{"total_q", "num_kv_indices", "batch_size"}));
  EXPECT_EQ(bucket_axes(*signature("rope_append_h4_kv2_d64_ps16")), Axes{"num_tokens"});
}

TEST(Buckets, AxesThatFollowFromEachOtherLeaveOne) {
  Signature s;
  for (const char* name : {"a", "b", "c"}) s.axes.push_back({.name = name});
  const auto constrain = [&](std::vector<std::string> texts) {
    s.constraints.clear();
    for (const std::string& text : texts) s.constraints.push_back(*Expression::parse(text));
    return bucket_axes(s);
  };
  EXPECT_EQ(constrain({"a == b", "b == a"}), (Axes{"b", "c"}));
  EXPECT_EQ(constrain({"a == b", "b == c", "c == a"}), Axes{"c"});
  EXPECT_EQ(constrain({"b == c", "a == b + 1"}), Axes{"c"});
  EXPECT_EQ(constrain({"a <= b"}), (Axes{"a", "b", "c"}));
}

using Choices = std::map<Cell, std::optional<size_t>>;

// "0:[1-3]" is choice 0 in cells 1 to 3.
std::vector<std::string> merged(const Choices& choices) {
  std::vector<std::string> texts;
  for (const Region& region : merge_cells(choices)) {
    std::string text = fmt::format("{}:[", region.choice);
    for (size_t axis = 0; axis < region.low.size(); ++axis) {
      text += fmt::format("{}{}-{}", axis == 0 ? "" : " ", region.low[axis], region.high[axis]);
    }
    texts.push_back(text + fmt::format("] {} of {}", region.measured.size(), region.num_cells()));
  }
  return texts;
}

TEST(Regions, JoinAlongOneAxis) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(merged({}), Texts{});
  EXPECT_EQ(merged({{{}, 0}}), Texts{"0:[] 1 of 1"});
  EXPECT_EQ(merged({{{1}, 0}, {{2}, 0}, {{3}, 1}}), (Texts{"0:[1-2] 2 of 2", "1:[3-3] 1 of 1"}));
  EXPECT_EQ(merged({{{1}, 0}, {{4}, 0}}), Texts{"0:[1-4] 2 of 4"}) << "a gap is bridged";
  EXPECT_EQ(merged({{{1}, 0}, {{2}, std::nullopt}, {{4}, 0}}),
            (Texts{"0:[1-1] 1 of 1", "0:[4-4] 1 of 1"}))
      << "but not where the fallback was better";
  EXPECT_EQ(merged({{{1}, 0}, {{2}, 1}, {{4}, 0}}),
            (Texts{"0:[1-1] 1 of 1", "1:[2-2] 1 of 1", "0:[4-4] 1 of 1"}));
}

TEST(Regions, JoinInTwoAxesWithoutOverlap) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(merged({{{1, 1}, 0}, {{1, 2}, 0}, {{2, 1}, 0}, {{2, 2}, 0}}),
            Texts{"0:[1-2 1-2] 4 of 4"});
  EXPECT_EQ(merged({{{1, 1}, 0}, {{2, 2}, 0}}), (Texts{"0:[1-1 1-1] 1 of 1", "0:[2-2 2-2] 1 of 1"}))
      << "cells that meet at a corner have no cell between them";
  // A cross: both arms would bridge the cell in the middle.
  EXPECT_EQ(merged({{{1, 2}, 0}, {{3, 2}, 0}, {{2, 1}, 1}, {{2, 3}, 1}}),
            (Texts{"0:[1-3 2-2] 2 of 3", "1:[2-2 1-1] 1 of 1", "1:[2-2 3-3] 1 of 1"}));
  // A frame around a cell of the fallback.
  Choices frame;
  for (int x = 1; x <= 3; ++x) {
    for (int y = 1; y <= 3; ++y) frame[{x, y}] = 0;
  }
  frame[{2, 2}] = std::nullopt;
  size_t cells = 0;
  for (const Region& region : merge_cells(frame)) {
    cells += region.measured.size();
    EXPECT_EQ(static_cast<int64_t>(region.measured.size()), region.num_cells());
  }
  EXPECT_EQ(cells, 8u);
}

TEST(Intervals, AreDescribed) {
  EXPECT_EQ(describe_intervals({}), "any shape");
  EXPECT_EQ(describe_intervals(intervals_of({"a", "b"}, {1, 4}, {1, 5})), "a 1, b 5..16");
}

}  // namespace
}  // namespace fib::testing
