// Two engines under the same traffic: what is made of pairs of blocks.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "integrations/serving/traffic/ab_replay.h"
#include "tests/integrations/serving/http/fake_engine.h"

namespace fib {
namespace {

// A block of ten requests with `busy_s` of the engine's time for 100 tokens.
AbSide side_of(double busy_s, std::vector<std::vector<TokenId>> answers = {{1, 2, 3}}) {
  AbSide side;
  side.report.finished = 10;
  side.report.output_tokens = 100;
  side.report.duration_s = 2.0;
  side.report.ttft_s = {.count = 10, .mean = busy_s};
  side.report.tbt_s = {.count = 90, .mean = busy_s / 10};
  side.report.end_to_end_s = {.count = 10, .mean = busy_s};
  side.busy_s = busy_s;
  side.answers = std::move(answers);
  return side;
}

TEST(AbRatio, TellsTheMeanAndItsInterval) {
  const AbRatio ratio = combine_ratios({1.0, 1.21});
  EXPECT_NEAR(ratio.ratio, 1.1, 1e-12);
  EXPECT_LT(ratio.low, 1.0);
  EXPECT_NEAR(ratio.low * ratio.high, 1.21, 1e-9) << "symmetric in the logarithm";
  EXPECT_NEAR(combine_ratios({1.25, 1.25, 1.25}).low, 1.25, 1e-12);
}

TEST(AbRatio, OnePairHasNoInterval) {
  const AbRatio ratio = combine_ratios({2.0});
  EXPECT_EQ(ratio.ratio, 2.0);
  EXPECT_EQ(ratio.low, 0.0);
  EXPECT_TRUE(std::isinf(ratio.high));
  EXPECT_TRUE(std::isinf(combine_ratios({}).high));
}

TEST(AbRatio, HoldsTheTruthNineteenTimesOfTwenty) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(std::log(1.03), 0.05);
  int held = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> ratios(6);
    for (double& ratio : ratios) ratio = std::exp(noise(random));
    const AbRatio combined = combine_ratios(ratios);
    held += combined.low <= 1.03 && 1.03 <= combined.high ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(held) / kTrials, 0.95, 0.02);
}

TEST(AbReport, SaysWhichServesBetter) {
  std::vector<AbPair> pairs;
  for (const double drift : {1.0, 1.5, 0.8, 1.2}) {  // common to both sides
    pairs.push_back({side_of(1.2 * drift), side_of(1.0 * drift)});
  }
  AbReport report = compare_pairs(pairs);
  EXPECT_NEAR(report.busy.ratio, 1.2, 1e-9);
  EXPECT_EQ(report.conclusion(), AbConclusion::kBetter);
  std::swap(pairs[0].a, pairs[0].b);
  EXPECT_EQ(compare_pairs(pairs).conclusion(), AbConclusion::kNoDifference);
  for (size_t i = 1; i < pairs.size(); ++i) std::swap(pairs[i].a, pairs[i].b);
  EXPECT_EQ(compare_pairs(pairs).conclusion(), AbConclusion::kWorse);
}

TEST(AbReport, PairsWithFailuresDontCount) {
  std::vector<AbPair> pairs = {{side_of(1.0), side_of(1.0)}, {side_of(1.0), side_of(9.0)}};
  pairs[1].b.report.failed = 3;
  const AbReport report = compare_pairs(pairs);
  EXPECT_EQ(report.failed_b, 3u);
  EXPECT_EQ(report.busy.pairs, 1u);
  EXPECT_EQ(report.busy.ratio, 1.0);
  EXPECT_EQ(report.conclusion(), AbConclusion::kNoDifference) << "one pair shows nothing";
}

TEST(AbReport, ComparesAnswersToWhereTheyPart) {
  const AbReport report = compare_pairs(
      {{side_of(1.0, {{1, 2, 3}, {4, 5, 6, 7}, {}}), side_of(1.0, {{1, 2, 3}, {4, 5, 9, 7}, {}})}});
  EXPECT_EQ(report.parity.requests, 3u);
  EXPECT_EQ(report.parity.equal, 2u);
  EXPECT_EQ(report.parity.tokens, 7u);
  EXPECT_EQ(report.parity.tokens_before_parting, 5u);
}

TEST(AbReport, APromiseThatIsNotKeptIsSaid) {
  AbReport report = compare_pairs({{side_of(1.0), side_of(1.0)}, {side_of(1.0), side_of(1.1)}});
  EXPECT_FALSE(report.breaks_promise());
  report.predicted = 1.2;
  EXPECT_TRUE(report.breaks_promise());
  EXPECT_NE(ab_to_text(report).find("+20.0 % predicted"), std::string::npos) << ab_to_text(report);
  EXPECT_EQ(ab_to_json(report).at("breaks_promise"), true);
  report.busy.low = 1.1;
  EXPECT_FALSE(report.breaks_promise());
}

TEST(AbReport, WhoPromisesAnyGainAndServesWorseBreaksIt) {
  AbReport report = compare_pairs({{side_of(1.0), side_of(1.3)}, {side_of(1.0), side_of(1.3)}});
  ASSERT_EQ(report.conclusion(), AbConclusion::kWorse);
  EXPECT_FALSE(report.breaks_promise()) << "nothing was promised";
  report.predicted = 1.004;
  EXPECT_TRUE(report.breaks_promise());
  EXPECT_NE(ab_to_text(report).find("+0.4 % predicted"), std::string::npos) << ab_to_text(report);
  report.predicted = 0.99;
  EXPECT_FALSE(report.breaks_promise()) << "a loss was";
  report.predicted = 1.004;
  report.busy = combine_ratios({0.9, 1.1});
  ASSERT_EQ(report.conclusion(), AbConclusion::kNoDifference);
  EXPECT_FALSE(report.breaks_promise()) << "too small to be missed";
}

TEST(AbReport, TellsTheCallsOfEachSolution) {
  AbReport report = compare_pairs({{side_of(1.0), side_of(1.0)}});
  EXPECT_EQ(ab_to_text(report).find("calls by solution"), std::string::npos);
  report.kernels_a = {{.signature = "norm", .solution = "rows", .calls = 7},
                      {.signature = "gemm", .solution = "dots", .calls = 100, .host_s = 2.5}};
  report.kernels_b = {{.signature = "gemm", .solution = "panels", .calls = 25},
                      {.signature = "gemm", .solution = "dots", .calls = 75},
                      {.signature = "norm", .solution = "rows", .calls = 8},
                      {.signature = "rope", .solution = "pairs", .calls = 0}};
  EXPECT_NE(ab_to_text(report).find("calls by solution, of A -> of B:\n"
                                    "  gemm: dots 100 -> 75, panels 0 -> 25\n"
                                    "  norm: rows 7 -> 8\n"
                                    "no difference"),
            std::string::npos)
      << ab_to_text(report);
  EXPECT_EQ(ab_to_json(report).at("kernels_a").at(1).at("time_s"), 2.5);
}

TEST(AbReplay, KeepsTheAnswers) {
  testing::FakeEngine engine;
  RequestTrace trace{.has_arrivals = true, .requests = {}};
  for (int i = 0; i < 4; ++i) trace.requests.push_back({.input_tokens = 3, .output_tokens = 5});
  const Traffic traffic = Traffic::plan(trace, {.max_tokens = 100, .vocab_size = 50}).value();
  const AbSide side = run_ab_side(traffic, engine, {});
  EXPECT_EQ(side.report.finished, 4u);
  ASSERT_EQ(side.answers.size(), 4u);
  for (const auto& answer : side.answers) EXPECT_EQ(answer.size(), 5u);
  EXPECT_NE(side.answers[0], side.answers[1]) << "the fake answers with the prompt";
  EXPECT_EQ(run_ab_side(traffic, engine, {}).answers, side.answers);
}

}  // namespace
}  // namespace fib
