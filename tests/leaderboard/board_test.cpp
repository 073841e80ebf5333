#include "leaderboard/board.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/leaderboard/store_fixture.h"

namespace fib {
namespace {

using namespace fib::testing;

Standing timed(size_t workload, double ns, double relative_half_width = 0.001) {
  return {.workload = workload,
          .cold_ns = ns,
          .cold_low_ns = ns * (1 - relative_half_width),
          .cold_high_ns = ns * (1 + relative_half_width),
          .roofline_fraction = 0.25};
}

TEST(Board, WeighsByTraffic) {
  // Twice as fast on the workload that has three quarters of the traffic, alike on the other.
  BoardInput input{.workloads = {{"a", 3.0}, {"b", 1.0}},
                   .entries = {{"plain", "fib", 1, {timed(0, 200), timed(1, 100)}},
                               {"fast", "ann", 2, {timed(0, 100), timed(1, 100)}}}};
  const auto rows = rank_board(input);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].solution, "fast");
  EXPECT_EQ(rows[0].rank, 1);
  EXPECT_NEAR(rows[0].geomean_speedup, std::pow(2.0, 0.75), 1e-12);
  EXPECT_NEAR(rows[0].geomean_latency_ns, 100.0, 1e-9);
  EXPECT_EQ(rows[0].worst_workload, "b");
  EXPECT_DOUBLE_EQ(rows[0].worst_speedup, 1.0);
  EXPECT_DOUBLE_EQ(rows[0].roofline_fraction, 0.25);
  EXPECT_EQ(rows[1].rank, 2);
  EXPECT_TRUE(rows[1].is_baseline);
  EXPECT_DOUBLE_EQ(rows[1].geomean_speedup, 1.0);
}

TEST(Board, IntervalFollowsTheDeltaMethod) {
  BoardInput input{.workloads = {{"a", 1.0}, {"b", 1.0}},
                   .entries = {{"only", "fib", 1, {timed(0, 100, 0.02), timed(1, 100, 0.02)}}}};
  const BoardRow row = rank_board(input).at(0);
  // Two independent errors of 2 % average to 2 % / sqrt(2).
  EXPECT_NEAR(row.speedup_high, 1.0 + 0.02 / std::sqrt(2.0), 2e-4);
  EXPECT_NEAR(row.speedup_low, 1.0 - 0.02 / std::sqrt(2.0), 2e-4);
}

TEST(Board, OverlappingIntervalsShareARank) {
  BoardInput input{.workloads = {{"a"}},
                   .entries = {{"baseline", "fib", 1, {timed(0, 200)}},
                               {"first", "ann", 2, {timed(0, 100, 0.01)}},
                               {"alike", "bob", 3, {timed(0, 101, 0.01)}},
                               {"third", "cyd", 4, {timed(0, 110, 0.01)}}}};
  const auto rows = rank_board(input);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].rank, 1);
  EXPECT_EQ(rows[1].solution, "alike");
  EXPECT_EQ(rows[1].rank, 1);
  EXPECT_EQ(rows[2].rank, 3) << "two stand before it";
  EXPECT_EQ(rows[3].rank, 4);
}

TEST(Board, IncompleteOrFailingIsNotRanked) {
  BoardInput input{.workloads = {{"a"}, {"b"}},
                   .entries = {{"some", "ann", 1, {timed(1, 1)}},
                               {"failing", "bob", 2, {timed(0, 1), {1, "INCORRECT_NUMERICAL"}}},
                               {"nothing", "bob", 4, {{0, "COMPILE_ERROR"}, {1, "TIMEOUT"}}},
                               {"untimed", "eve", 5, {timed(0, 1), {.workload = 1}}},
                               {"whole", "cyd", 3, {timed(0, 50), timed(1, 60)}}}};
  const auto rows = rank_board(input);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].solution, "whole");
  EXPECT_EQ(rows[0].rank, 1);
  EXPECT_TRUE(rows[0].is_baseline) << "without a house solution the slowest ranked one";
  EXPECT_EQ(rows[1].solution, "untimed") << "passed everything, but has no cold timing";
  for (size_t i = 1; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].rank, 0);
    EXPECT_EQ(rows[i].geomean_speedup, 0.0);
    EXPECT_EQ(rows[i].workloads_total, 2);
  }
  EXPECT_EQ(rows[2].workloads_passed, 1);
  EXPECT_EQ(rows[4].solution, "nothing");
  EXPECT_EQ(rows[4].failing_status, "COMPILE_ERROR");
}

TEST(Board, SlowestHouseSolutionIsTheBaseline) {
  BoardInput input{.workloads = {{"a"}},
                   .entries = {{"slow-guest", "ann", 1, {timed(0, 900)}},
                               {"house-slow", "fib", 2, {timed(0, 300)}},
                               {"house-fast", "fib", 3, {timed(0, 100)}}}};
  const auto rows = rank_board(input);
  EXPECT_TRUE(rows[1].is_baseline);
  EXPECT_NEAR(rows[0].geomean_speedup, 3.0, 1e-9);
  EXPECT_NEAR(rows[2].geomean_speedup, 1.0 / 3.0, 1e-9);
}

TEST(Board, TheVersionJudgedLastCounts) {
  BoardInput input{.workloads = {{"a"}},
                   .entries = {{"mine", "ann", 7, {timed(0, 50)}},
                               {"mine", "ann", 3, {timed(0, 10)}},
                               {"mine", "bob", 1, {timed(0, 90)}}}};
  const auto rows = rank_board(input);
  ASSERT_EQ(rows.size(), 2u) << "another author's solution of the same name is another solution";
  EXPECT_NEAR(rows[0].geomean_latency_ns, 50.0, 1e-9);
}

TEST(Board, WithoutTrafficAllWorkloadsCountAlike) {
  BoardInput input{.workloads = {{"a", 0.0}, {"b", 0.0}},
                   .entries = {{"x", "fib", 1, {timed(0, 100), timed(1, 400)}}}};
  EXPECT_NEAR(rank_board(input).at(0).geomean_latency_ns, 200.0, 1e-9);
}

TEST(Board, FromTheStoreTakesTheNewestVerdictOfEachWorkload) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  const auto put = [&](const VerdictSpec& spec) {
    const auto id = add(*store, spec);
    ASSERT_TRUE(id) << id.error().to_string();
  };
  put({.solution = "plain", .workload = "w1", .cold_ns = 400});
  put({.solution = "plain", .workload = "w2", .cold_ns = 400});
  put({.solution = "rows", .workload = "w1", .cold_ns = 999});
  put({.solution = "rows", .workload = "w2", .cold_ns = 100});
  put({.solution = "rows", .workload = "w1", .cold_ns = 100});
  put({.solution = "half", .workload = "w2", .cold_ns = 1});
  put({.solution = "rows", .workload = "w1", .config = "config-b", .cold_ns = 5});
  put({.solution = "rows", .signature = "rmsnorm_h64", .workload = "w1", .cold_ns = 7});

  const auto rows = store->board("rmsnorm_h4096").value();
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].solution, "rows");
  EXPECT_NEAR(rows[0].geomean_speedup, 4.0, 1e-9);
  EXPECT_EQ(rows[1].solution, "plain");
  EXPECT_EQ(rows[2].solution, "half");
  EXPECT_EQ(rows[2].rank, 0);
  EXPECT_EQ(rows[2].workloads_passed, 1);
  EXPECT_EQ(rows[2].workloads_total, 2);
  EXPECT_EQ(rows[3].config_key, "config-b") << "another configuration is another board";
  EXPECT_EQ(rows[3].rank, 1);
  EXPECT_EQ(store->board("")->size(), 5u);
  EXPECT_TRUE(store->board("gemm_n1_k1")->empty());
}

}  // namespace
}  // namespace fib
