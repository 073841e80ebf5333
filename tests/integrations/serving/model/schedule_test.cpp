// An answer depends on its question alone: on the CPU it has the same bits whoever else is asking,
// however prompts are cut, whatever the prefix cache knows, and if the engine had to forget and
// begin again.

#include "tests/integrations/serving/model/asked_engine.h"

namespace fib {
namespace {

constexpr int kMaxPositions = 640;

ExecutorOptions small_executor() {
  return {.max_positions = kMaxPositions, .max_step_tokens = 2048, .max_decode_rows = 128};
}

class Schedules : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto model = open_tiny_model("cpu", small_executor());
    ASSERT_TRUE(model) << model.error().to_string();
    model_ = new ServedModelUnderTest(*std::move(model));
    const auto engine = start({.has_prefix_cache = false});
    wanted_ = new std::vector<Answer>(ask_one_by_one(*engine, questions()));
  }
  static void TearDownTestSuite() {
    delete std::exchange(wanted_, nullptr);
    delete std::exchange(model_, nullptr);
  }

  static const std::vector<Question>& questions() {
    static const std::vector<Question> all = mixed_questions();
    return all;
  }
  static std::unique_ptr<Engine> start(EngineConfig config) {
    config.max_decode_rows = 128;
    config.eos_tokens = model_->executor->config().eos_tokens;
    return Engine::start(*model_->executor, std::move(config)).value();
  }

  static void expect_same_answers(EngineConfig config) {
    const auto engine = start(std::move(config));
    expect_same(ask(*engine, questions()), *wanted_);
    engine->drain();
    EXPECT_EQ(engine->stats().pages_used, 0);
  }

  static inline ServedModelUnderTest* model_ = nullptr;
  static inline std::vector<Answer>* wanted_ = nullptr;  // asked alone
};

TEST_F(Schedules, AskedAloneAllSucceed) {
  for (const Answer& answer : *wanted_) {
    EXPECT_TRUE(answer.reason == FinishReason::kLength || answer.reason == FinishReason::kStop);
  }
}

TEST_F(Schedules, HoweverPromptsAreCutIntoChunks) {
  for (const int tokens : {16, 64, 512}) {
    SCOPED_TRACE("chunks of " + std::to_string(tokens));
    expect_same_answers({.chunk_tokens = tokens, .has_prefix_cache = false});
  }
}

TEST_F(Schedules, HoweverLayersAreGroupedForCohorts) {
  for (const int tokens : {100, 600, 2000}) {
    SCOPED_TRACE("cohorts of " + std::to_string(tokens));
    expect_same_answers(
        {.prefill = PrefillPolicy::kLayered, .cohort_tokens = tokens, .has_prefix_cache = false});
  }
}

TEST_F(Schedules, WhatThePrefixCacheFindsIsWhatWouldHaveBeenComputed) {
  for (const PrefillPolicy policy : {PrefillPolicy::kChunked, PrefillPolicy::kLayered}) {
    const auto engine = start({.prefill = policy, .cohort_tokens = 700});
    expect_same(ask(*engine, questions()), *wanted_);
    const EngineStats first = engine->stats();
    EXPECT_GT(first.cached_tokens, 0u) << "three prompts have 96 tokens in common";
    expect_same(ask(*engine, questions()), *wanted_);
    engine->drain();
    // All that is complete and not the last token is found again.
    EXPECT_GT(engine->stats().cached_tokens - first.cached_tokens, 1500u);
  }
}

// Blocks that hold generated tokens were computed by decode steps; who asks for the whole
// conversation again finds them, and gets what computing them at once would give.
TEST_F(Schedules, AConversationGoesOnFromGeneratedTokens) {
  std::mt19937_64 random(5);
  Question question{.prompt = random_prompt(random, 20),
                    .sampling = {.max_tokens = 60, .temperature = 0.0f, .ignore_eos = true}};
  const auto with_cache = start({}), without = start({.has_prefix_cache = false});
  const Answer first = ask(*with_cache, {question}).at(0);
  for (const GeneratedToken& token : first.tokens) question.prompt.push_back(token.token);
  question.sampling.logprobs = 3;
  const Answer second = ask(*with_cache, {question}).at(0);
  EXPECT_EQ(second.usage.cached_tokens, 64);
  expect_same(second, ask(*without, {question}).at(0));
}

TEST_F(Schedules, ACacheTooSmallForAllForgetsAndBeginsAgain) {
  ExecutorOptions options = small_executor();
  options.kv_bytes = model_->executor->config().kv_bytes_per_token() * kMaxPositions;
  const auto small = open_tiny_model("cpu", options);
  ASSERT_TRUE(small) << small.error().to_string();
  EXPECT_EQ(small->executor->limits().num_pages, kMaxPositions / 16);
  for (const bool has_prefix_cache : {false, true}) {
    const auto engine = Engine::start(*small->executor, {.chunk_tokens = 64,
                                                         .max_decode_rows = 32,
                                                         .has_prefix_cache = has_prefix_cache,
                                                         .eos_tokens = {0}})
                            .value();
    expect_same(ask(*engine, questions()), *wanted_);
    engine->drain();
    EXPECT_GT(engine->stats().preemptions, 0u);
    EXPECT_EQ(engine->stats().pages_used, 0);
  }
}

// Prompts of a token each: a step has room for many more than there are segments.
TEST_F(Schedules, ACrowdOfShortPrompts) {
  std::vector<Question> crowd;
  for (TokenId token = 100; token < 300; ++token) {
    crowd.push_back({.prompt = {token}, .sampling = {.max_tokens = 1, .temperature = 0.0f}});
  }
  const auto engine = start({.has_prefix_cache = false});
  const std::vector<Answer> together = ask(*engine, crowd);
  expect_same(together, ask_one_by_one(*engine, crowd));
}

TEST_F(Schedules, OneThreadOrTwo) {
  const auto single = open_tiny_model("cpu", small_executor(), 1);
  ASSERT_TRUE(single) << single.error().to_string();
  const auto engine =
      Engine::start(*single->executor,
                    {.max_decode_rows = 32, .has_prefix_cache = false, .eos_tokens = {0}})
          .value();
  expect_same(ask(*engine, questions()), *wanted_);
}

}  // namespace
}  // namespace fib
