// The bundled model on the CPU against golden.json.

#include "tests/integrations/serving/model/golden_checks.h"

namespace fib {
namespace {

TEST(CpuModel, GoldenLogitsAndGreedyTokens) {
  const auto model = open_tiny_model("cpu");
  ASSERT_TRUE(model) << model.error().to_string();
  expect_golden(*model->executor);
}

}  // namespace
}  // namespace fib
