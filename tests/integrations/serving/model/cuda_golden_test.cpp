// The bundled model on a card against golden.json. Skips without one.

#include "tests/integrations/serving/model/golden_checks.h"
#include "tests/integrations/serving/model/profile_checks.h"

namespace fib {
namespace {

void expect_golden_with(GraphUse graphs) {
  const auto model = open_tiny_model("cuda", {.graphs = graphs});
  if (!model && model.error().code == ErrorCode::kEnvironment) {
    GTEST_SKIP() << model.error().to_string();
  }
  ASSERT_TRUE(model) << model.error().to_string();
  expect_golden(*model->executor);
}

TEST(CudaModel, GoldenLogitsAndGreedyTokens) { expect_golden_with(GraphUse::kNever); }
TEST(CudaModel, GoldenLogitsAndGreedyTokensThroughGraphs) {
  expect_golden_with(GraphUse::kWhereAble);
}

// Decode steps in a graph with event nodes.
TEST(CudaModel, SampledStepsAreTimedCallByCallAndChangeNothing) {
  expect_sampled_steps("cuda", false);
}
TEST(CudaModel, SampledStepsOfPrefillAreCountedAlone) { expect_sampled_steps("cuda", true); }

}  // namespace
}  // namespace fib
