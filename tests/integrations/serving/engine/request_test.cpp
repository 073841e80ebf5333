// What is refused at the door, and in which words.

#include "integrations/serving/engine/request.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>

#include "integrations/serving/engine/sequence.h"
#include "tests/integrations/serving/engine/recording_listener.h"

namespace fib {
namespace {

using fib::testing::RecordingListener;

constexpr int kVocabSize = 100;

TEST(SamplingParams, TakesTheEndsOfItsRanges) {
  EXPECT_TRUE(SamplingParams{}.check(kVocabSize));
  const SamplingParams lowest{.max_tokens = 1,
                              .temperature = 0.0f,
                              .top_p = 1e-6f,
                              .presence_penalty = -2.0f,
                              .frequency_penalty = -2.0f,
                              .logit_bias = {{0, -100.0f}, {99, 100.0f}},
                              .logprobs = -1,
                              .stop_tokens = {0, 99}};
  EXPECT_TRUE(lowest.check(kVocabSize));
  EXPECT_TRUE(
      (SamplingParams{.min_p = 1.0f, .presence_penalty = 2.0f, .logprobs = 20}.check(kVocabSize)));
}

TEST(SamplingParams, NamesTheFieldThatIsOutOfRange) {
  const std::pair<const char*, SamplingParams> wrong[] = {
      {"max_tokens", {.max_tokens = 0}},
      {"temperature", {.temperature = -0.1f}},
      {"temperature", {.temperature = NAN}},
      {"temperature", {.temperature = INFINITY}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 0.0f}},
      {"top_p", {.top_p = 1.01f}},
      {"top_p", {.top_p = NAN}},
      {"min_p", {.min_p = -0.1f}},
      {"min_p", {.min_p = 1.1f}},
      {"repetition_penalty", {.repetition_penalty = 0.0f}},
      {"repetition_penalty", {.repetition_penalty = INFINITY}},
      {"presence_penalty", {.presence_penalty = 2.1f}},
      {"frequency_penalty", {.frequency_penalty = NAN}},
      {"logit_bias", {.logit_bias = {{kVocabSize, 1.0f}}}},
      {"logit_bias[4]", {.logit_bias = {{4, 100.5f}}}},
      {"logprobs", {.logprobs = 21}},
      {"logprobs", {.logprobs = -2}},
      {"stop_tokens", {.stop_tokens = {1, -1}}},
      {"stop", {.stop = {"\n", ""}}},
  };
  for (const auto& [field, sampling] : wrong) {
    const auto checked = sampling.check(kVocabSize);
    ASSERT_FALSE(checked) << field;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidInput);
    EXPECT_EQ(checked.error().where, field);
    EXPECT_FALSE(checked.error().remedy.empty());
  }
}

TEST(FinishReason, HasOpenAisNames) {
  EXPECT_EQ(finish_reason_name(FinishReason::kStop), "stop");
  EXPECT_EQ(finish_reason_name(FinishReason::kLength), "length");
  EXPECT_EQ(finish_reason_name(FinishReason::kCancelled), "cancelled");
  EXPECT_EQ(finish_reason_name(FinishReason::kError), "error");
}

class SequenceDoor : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Sequence>> make(std::vector<TokenId> prompt,
                                         SamplingParams sampling = {}) {
    return Sequence::make({.prompt = std::move(prompt),
                           .sampling = std::move(sampling),
                           .listener = std::make_shared<RecordingListener>()},
                          limits_, config_);
  }
  ExecutorLimits limits_{
      .vocab_size = kVocabSize, .max_positions = 20, .page_size = 4, .num_pages = 3};
  EngineConfig config_{.eos_tokens = {2}};
};

TEST_F(SequenceDoor, RefusesPromptsThatCantBeServed) {
  const Error empty = make({}).error();
  EXPECT_EQ(empty.code, ErrorCode::kInvalidInput);
  EXPECT_EQ(empty.where, "prompt");
  const Error foreign = make({1, 2, kVocabSize}).error();
  EXPECT_EQ(foreign.code, ErrorCode::kInvalidInput);
  EXPECT_EQ(foreign.where, "prompt[2]");
  EXPECT_EQ(make({-1}).error().where, "prompt[0]");
  const Error too_long = make(std::vector<TokenId>(20, 1)).error();
  EXPECT_EQ(too_long.code, ErrorCode::kInvalidInput);
  EXPECT_NE(too_long.message.find("20 tokens"), std::string::npos);
  EXPECT_EQ(too_long.remedy, "send at most 19 tokens");
  const Error too_large = make(std::vector<TokenId>(13, 1)).error();
  EXPECT_EQ(too_large.code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(make({1}, {.top_p = 2.0f}).error().where, "top_p");
  EXPECT_THROW((void)Sequence::make({.prompt = {1}}, limits_, config_), std::logic_error);
}

TEST_F(SequenceDoor, ClipsTheAnswerToWhatFits) {
  const auto length_at_end = [&](std::vector<TokenId> prompt, int max_tokens) {
    auto sequence = make(std::move(prompt), {.max_tokens = max_tokens}).value();
    while (!sequence->is_full()) sequence->append(5);
    return sequence->length();
  };
  EXPECT_EQ(length_at_end({1, 1, 1}, 4), 7);
  EXPECT_EQ(length_at_end({1, 1, 1}, 2'000'000'000), 13) << "12 in the cache and one not run";
  limits_.num_pages = 10;
  EXPECT_EQ(length_at_end({1, 1, 1}, 2'000'000'000), 20);
}

TEST_F(SequenceDoor, StopsAtEndOfTextUnlessIgnored) {
  const auto usual = make({1}, {.stop_tokens = {8, 5}}).value();
  EXPECT_TRUE(usual->is_stop(2));
  EXPECT_TRUE(usual->is_stop(5));
  EXPECT_TRUE(usual->is_stop(8));
  EXPECT_FALSE(usual->is_stop(3));
  const auto ignoring = make({1}, {.ignore_eos = true, .stop_tokens = {8}}).value();
  EXPECT_FALSE(ignoring->is_stop(2));
  EXPECT_TRUE(ignoring->is_stop(8));
}

}  // namespace
}  // namespace fib
