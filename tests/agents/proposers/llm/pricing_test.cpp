#include "agents/proposers/llm/pricing.h"

#include <gtest/gtest.h>

namespace fib::agents {
namespace {

TEST(Pricing, IsByTheMillion) {
  EXPECT_DOUBLE_EQ(price_of({.prompt_tokens = 500'000, .answer_tokens = 100'000},
                            {.prompt = 2.0, .answer = 10.0}),
                   2.0);
  EXPECT_EQ(price_of({.prompt_tokens = 5, .answer_tokens = 5}, {}), 0.0);
}

TEST(Pricing, AnEstimateIsMarkedAndRoundsUp) {
  const TokenUsage usage = estimated_usage(9, 0);
  EXPECT_EQ(usage.prompt_tokens, 3);
  EXPECT_EQ(usage.answer_tokens, 0);
  EXPECT_EQ(usage.source, TokenUsage::Source::kEstimated);
}

}  // namespace
}  // namespace fib::agents
