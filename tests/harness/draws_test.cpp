#include "harness/draws.h"

#include <gtest/gtest.h>

#include "signatures/family.h"

namespace fib {
namespace {

std::vector<double> even(int count) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back((i + 0.5) / count);
  return values;
}

TEST(UniformPValue, IsHighForEvenValuesAndLowForOthers) {
  EXPECT_EQ(uniform_p_value({}), 1.0);
  EXPECT_GT(uniform_p_value(even(1)), 0.5);
  EXPECT_NEAR(uniform_p_value(even(1000)), 1.0, 1e-9);
  EXPECT_LT(uniform_p_value(std::vector<double>(100, 0.5)), 1e-12);
  std::vector<double> low = even(400);
  for (double& value : low) value *= value;
  EXPECT_LT(uniform_p_value(low), 1e-12);
}

TEST(UniformPValue, AgreesWithTables) {
  // 100 values that all lie higher than even ones are as far off as that and half a step; tables
  // give 0.134 at the 5 % level.
  std::vector<double> values = even(100);
  for (double& value : values) value = std::min(1.0, value + 0.134 - 0.005);
  EXPECT_NEAR(uniform_p_value(values), 0.05, 0.005);
}

TEST(UniformPValue, FewDrawsAreNeverEnough) { EXPECT_GT(uniform_p_value({0.0, 0.0, 0.0}), 1e-6); }

DrawCheck ranked(std::vector<double> ranks) {
  DrawCheck check;
  check.stats.count = static_cast<int64_t>(ranks.size());
  check.ranks = {ranks, ranks};
  return check;
}

TEST(DrawRecord, WithoutDrawsHasNothingToObjectTo) { EXPECT_EQ(DrawRecord().p_value(), 1.0); }

TEST(DrawRecord, OutputsThatDifferALittleDontCountAsMoreDraws) {
  std::vector<double> ranks = even(300);
  for (double& rank : ranks) rank = 0.06 + 0.94 * rank;  // what chance may do
  DrawRecord once, often;
  once.add(ranked(ranks), 0);
  for (size_t version = 0; version < 100; ++version) often.add(ranked(ranks), version);
  EXPECT_GT(once.p_value(), 0.1);
  EXPECT_GT(often.p_value(), 0.1);
  EXPECT_EQ(often.num_draws(), 30'000);

  DrawRecord sets;  // of different value sets: these are draws of their own
  for (int set = 0; set < 100; ++set) sets.add(ranked(ranks), 0);
  EXPECT_LT(sets.p_value(), 1e-6);
}

TEST(DrawRecord, OneOrderIsEnoughToBeRefused) {
  DrawRecord record;
  DrawCheck check = ranked(even(300));
  check.ranks.by_likelihood.assign(300, 0.1);
  record.add(check, 0);
  EXPECT_LT(record.p_value(), 1e-12);
}

TEST(DrawRecord, KeepsTheFirstImpossibleDraw) {
  DrawRecord record;
  record.add(ranked({0.5}), 0);
  EXPECT_EQ(record.first_bad_index, -1);
  DrawCheck bad;
  bad.stats.first_bad_index = 3;
  bad.first_bad_value = 17;
  record.add(bad, 0);
  bad.stats.first_bad_index = 1;
  record.add(bad, 1);
  EXPECT_EQ(record.first_bad_index, 3);
  EXPECT_EQ(record.first_bad_value, 17);
}

class CheckDraws : public testing::Test {
 protected:
  Problem problem_of(const std::string& family, const std::string& name,
                     std::vector<std::pair<std::string, int64_t>> axes) {
    const auto folder = std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions";
    auto signature = instantiate_by_name(folder / (family + ".json"), name);
    EXPECT_TRUE(signature) << signature.error().to_string();
    Workload workload;
    workload.uuid = "draws";
    workload.axes = std::move(axes);
    return fib::bind(std::make_shared<const Signature>(*std::move(signature)), workload).value();
  }
  static Result<DrawCheck> check(const Problem& problem, const std::vector<int32_t>& draws) {
    const InputPlan plan = plan_inputs(problem).value();
    return check_draws({.problem = problem,
                        .inputs = with_seed(plan, 5),
                        .values = std::as_bytes(std::span(draws)),
                        .seed = 7});
  }
};

TEST_F(CheckDraws, TokensOutsideTheVocabularyAreImpossible) {
  const Problem problem =
      problem_of("sampling/sampling_from_logits", "sampling_from_logits_v9", {{"num_tokens", 3}});
  const auto checked = check(problem, {-1, 9, 1 << 30});
  ASSERT_TRUE(checked) << checked.error().to_string();
  EXPECT_EQ(checked->stats.count, 3);
  EXPECT_EQ(checked->stats.elements_over_bound, 3);
  EXPECT_EQ(checked->stats.first_bad_index, 0);
  EXPECT_EQ(checked->first_bad_value, -1);
  EXPECT_TRUE(checked->ranks.by_value.empty());
}

TEST_F(CheckDraws, AnOperationThatDrawsNothingHasNoScores) {
  const Problem problem = problem_of("rmsnorm/rmsnorm", "rmsnorm_h8", {{"batch_size", 1}});
  const auto checked = check(problem, std::vector<int32_t>(8));
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace fib
