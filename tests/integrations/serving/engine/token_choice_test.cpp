#include "integrations/serving/engine/token_choice.h"

#include <gtest/gtest.h>

#include <vector>

namespace fib {
namespace {

using Changes = std::vector<std::pair<TokenId, float>>;

Changes changes(const TokenChooser& chooser) {
  const TokenChoice choice = chooser.choice(0);
  return {choice.logit_changes.begin(), choice.logit_changes.end()};
}

std::vector<TokenId> repeated(const TokenChooser& chooser) {
  const TokenChoice choice = chooser.choice(0);
  return {choice.repeated.begin(), choice.repeated.end()};
}

// The known answers of the authors' Random123 distribution.
TEST(Philox, GivesThePublishedAnswers) {
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformDraw, DependsOnSeedAndPositionAlone) {
  EXPECT_EQ(uniform_draw(1, 2), uniform_draw(1, 2));
  EXPECT_NE(uniform_draw(1, 2), uniform_draw(2, 1));
  EXPECT_NE(uniform_draw(1, 2), uniform_draw(1, 3));
  EXPECT_NE(uniform_draw(1, 2), uniform_draw(1 + (uint64_t{1} << 32), 2)) << "all 64 bits count";
}

TEST(UniformDraw, IsUniformAndBelowOne) {
  double sum = 0.0;
  constexpr int kDraws = 10'000;
  for (int i = 0; i < kDraws; ++i) {
    const float draw = uniform_draw(3, i);
    ASSERT_GE(draw, 0.0f);
    ASSERT_LT(draw, 1.0f);
    sum += draw;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.01);  // three standard errors are 0.0087
}

TEST(TokenChooser, PassesOnWhatDoesNotChange) {
  const TokenChooser chooser(
      {.temperature = 0.5f, .top_k = 4, .top_p = 0.9f, .min_p = 0.1f, .seed = 6, .logprobs = 3},
      {});
  const TokenChoice choice = chooser.choice(17);
  EXPECT_EQ(choice.temperature, 0.5f);
  EXPECT_EQ(choice.top_k, 4);
  EXPECT_EQ(choice.top_p, 0.9f);
  EXPECT_EQ(choice.min_p, 0.1f);
  EXPECT_EQ(choice.logprobs, 3);
  EXPECT_EQ(choice.uniform, uniform_draw(6, 17));
  EXPECT_EQ(choice.repetition_penalty, 1.0f);
  EXPECT_TRUE(choice.logit_changes.empty());
  EXPECT_TRUE(choice.repeated.empty());
}

TEST(TokenChooser, PenalisesWhatWasGenerated) {
  const std::vector<TokenId> prompt{9, 9};
  TokenChooser chooser({.presence_penalty = 1.0f, .frequency_penalty = 0.25f}, prompt);
  EXPECT_EQ(changes(chooser), Changes{}) << "the prompt is not the output";
  for (const TokenId token : {5, 3, 5}) chooser.append(token);
  EXPECT_EQ(changes(chooser), (Changes{{3, -1.25f}, {5, -1.5f}}));
}

TEST(TokenChooser, AddsPenaltiesToTheBias) {
  TokenChooser chooser({.presence_penalty = 0.5f, .logit_bias = {{3, 2.0f}, {8, -1.0f}}}, {});
  EXPECT_EQ(changes(chooser), (Changes{{3, 2.0f}, {8, -1.0f}}));
  for (const TokenId token : {8, 8, 4}) chooser.append(token);
  EXPECT_EQ(changes(chooser), (Changes{{3, 2.0f}, {4, -0.5f}, {8, -1.5f}}));
}

TEST(TokenChooser, RepetitionCountsThePromptToo) {
  const std::vector<TokenId> prompt{7, 2, 7};
  TokenChooser chooser({.repetition_penalty = 1.2f}, prompt);
  EXPECT_EQ(repeated(chooser), (std::vector<TokenId>{2, 7}));
  for (const TokenId token : {5, 2, 9}) chooser.append(token);
  EXPECT_EQ(repeated(chooser), (std::vector<TokenId>{2, 5, 7, 9}));
  EXPECT_EQ(chooser.choice(0).repetition_penalty, 1.2f);
}

}  // namespace
}  // namespace fib
