// The sampling reference on rows small enough to work out by hand.

#include <gtest/gtest.h>

#include <cmath>

#include "signatures/catalog.h"
#include "tests/workloads/inputs_fixture.h"

namespace fib {
namespace {

using Row = std::vector<double>;

struct Sampling {
  double temperature = 1.0;
  double top_k = 0.0;
  double top_p = 1.0;
  double min_p = 0.0;
  double uniform = 0.0;
};

class SamplingTest : public testing::Test {
 protected:
  // Probabilities 0.4, 0.1, 0.3, 0.2 of tokens 0 to 3.
  const Row kProbabilities = {0.4, 0.1, 0.3, 0.2};

  SamplingTest() {
    const Catalog catalog =
        *Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions");
    problem_ = make_problem(*catalog.find("sampling_from_logits_v4"),
                            R"({"uuid": "u", "inputs": {}, "axes": {"num_tokens": 1}})");
  }

  InputSet inputs_of(const Sampling& sampling, Row logits) const {
    InputSet inputs = with_seed(plan_inputs(problem_).value(), 5);
    const Row rest[] = {{sampling.temperature},
                        {sampling.top_k},
                        {sampling.top_p},
                        {sampling.min_p},
                        {sampling.uniform}};
    inputs.values[0].source = bytes_of(DType::kFloat32, logits);
    for (size_t i = 0; i < 5; ++i) {
      inputs.values[i + 1].source = bytes_of(i == 1 ? DType::kInt32 : DType::kFloat32, rest[i]);
    }
    return inputs;
  }
  Row logits() const {
    Row logits;
    for (const double p : kProbabilities) logits.push_back(std::log(p) + 3.0);
    return logits;
  }
  int64_t drawn(const Sampling& sampling, const Row& logits) const {
    const auto outputs = run_reference(problem_, inputs_of(sampling, logits), Precision::kExact);
    EXPECT_TRUE(outputs) << outputs.error().to_string();
    return static_cast<int64_t>((*outputs)[0][0]);
  }
  DrawScore score(const Sampling& sampling, const Row& logits, int64_t draw) const {
    const InputSet inputs = inputs_of(sampling, logits);
    const auto sources = open_sources(inputs);
    const auto scores =
        find_reference("sampling_from_logits")
            ->score({.problem = problem_,
                     .inputs = sources,
                     .parallel_for = [](int64_t count, const auto& body) { body(0, count); }},
                    std::vector<int64_t>{draw});
    EXPECT_TRUE(scores) << scores.error().to_string();
    return scores->at(0);
  }
  // By token; 0 where a token can't be drawn.
  Row probabilities(const Sampling& sampling, const Row& logits) const {
    Row row;
    for (int64_t token = 0; token < 4; ++token) {
      const DrawScore found = score(sampling, logits, token);
      EXPECT_EQ(found.is_possible, found.probability > 0.0);
      row.push_back(found.probability);
    }
    return row;
  }
  void expect_near(const Row& row, const Row& expected) const {
    ASSERT_EQ(row.size(), expected.size());
    for (size_t i = 0; i < row.size(); ++i) EXPECT_NEAR(row[i], expected[i], 1e-6) << i;
  }

  Problem problem_;
};

TEST_F(SamplingTest, CutsAndRenormalises) {
  expect_near(probabilities({}, logits()), kProbabilities);
  expect_near(probabilities({.top_k = 2}, logits()), {4.0 / 7, 0, 3.0 / 7, 0});
  expect_near(probabilities({.top_k = -1}, logits()), kProbabilities);
  expect_near(probabilities({.top_k = 9}, logits()), kProbabilities);
  expect_near(probabilities({.top_p = 0.5}, logits()), {4.0 / 7, 0, 3.0 / 7, 0});
  expect_near(probabilities({.top_p = 0.01}, logits()), {1, 0, 0, 0});
  // Of the two that are left, 4/7 is mass enough.
  expect_near(probabilities({.top_k = 2, .top_p = 0.55}, logits()), {1, 0, 0, 0});
  expect_near(probabilities({.min_p = 0.6}, logits()), {4.0 / 7, 0, 3.0 / 7, 0});
  expect_near(probabilities({.min_p = 1.0}, logits()), {1, 0, 0, 0});
}

TEST_F(SamplingTest, TemperatureFlattensAndSharpens) {
  Row squares, sum = {0};
  for (const double p : kProbabilities) sum[0] += p * p;
  for (const double p : kProbabilities) squares.push_back(p * p / sum[0]);
  expect_near(probabilities({.temperature = 0.5}, logits()), squares);
}

TEST_F(SamplingTest, TemperatureZeroTakesTheFirstOfTheLargest) {
  const Row tied = {1.0, 5.0, 5.0, 2.0};
  EXPECT_EQ(drawn({.temperature = 0.0, .uniform = 0.99}, tied), 1);
  expect_near(probabilities({.temperature = 0.0, .top_k = 3}, tied), {0, 1, 0, 0});
}

// One over the smallest of them isn't a float32 any more.
TEST_F(SamplingTest, TemperaturesBelowTheLeastCountAsZero) {
  const Row tied = {1.0, 5.0, 5.0, 2.0};
  for (const double temperature : {1e-45, 1e-39, 1e-9, 0.99 * 0x1p-20}) {
    EXPECT_EQ(drawn({.temperature = temperature, .uniform = 0.99}, tied), 1) << temperature;
    expect_near(probabilities({.temperature = temperature}, tied), {0, 1, 0, 0});
  }
  expect_near(probabilities({.temperature = 0x1p-20}, tied), {0, 0.5, 0.5, 0});
}

TEST_F(SamplingTest, OfEqualTokensTheLowerIdsAreKept) {
  const Row tied = {1.0, 5.0, 5.0, 5.0};
  for (const double uniform : {0.0, 0.49, 0.51, 0.99}) {
    EXPECT_EQ(drawn({.top_k = 2, .uniform = uniform}, tied), uniform < 0.5 ? 1 : 2);
  }
  // As near to the cut as a tie, token 3 isn't held against a solution.
  const DrawScore behind = score({.top_k = 2}, tied, 3);
  EXPECT_TRUE(behind.is_possible);
  EXPECT_EQ(behind.probability, 0.0);
  EXPECT_FALSE(score({.top_k = 2}, tied, 0).is_possible);
}

TEST_F(SamplingTest, DrawsTheInverseOfTheCumulativeDistribution) {
  EXPECT_EQ(drawn({.uniform = 0.0}, logits()), 0);
  EXPECT_EQ(drawn({.uniform = 0.39}, logits()), 0);
  EXPECT_EQ(drawn({.uniform = 0.41}, logits()), 1);
  EXPECT_EQ(drawn({.uniform = 0.51}, logits()), 2);
  EXPECT_EQ(drawn({.uniform = 0.81}, logits()), 3);
  EXPECT_EQ(drawn({.top_k = 2, .uniform = 0.999}, logits()), 2);
}

TEST_F(SamplingTest, ScoresSayWhatLiesBeforeADraw) {
  const DrawScore second = score({}, logits(), 2);
  EXPECT_NEAR(second.probability, 0.3, 1e-6);
  EXPECT_NEAR(second.lower, 0.5, 1e-6);     // tokens 0 and 1
  EXPECT_NEAR(second.likelier, 0.4, 1e-6);  // token 0
}

}  // namespace
}  // namespace fib
