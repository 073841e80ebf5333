#pragma once

// Questions to an engine over the bundled model, and its answers word for word.

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "integrations/serving/engine/engine.h"
#include "tests/integrations/serving/model/served_model.h"

namespace fib {

struct Question {
  std::vector<TokenId> prompt;
  SamplingParams sampling;
};

struct Answer {
  std::vector<GeneratedToken> tokens;
  FinishReason reason = FinishReason::kCancelled;
  RequestUsage usage;
  std::optional<Error> error;
};

class AnswerListener : public RequestListener {
 public:
  std::future<Answer> answer() { return promise_.get_future(); }
  void on_token(const GeneratedToken& token) override { answer_.tokens.push_back(token); }
  void on_end(FinishReason reason, const RequestUsage& usage,
              const std::optional<Error>& error) override {
    answer_.reason = reason;
    answer_.usage = usage;
    answer_.error = error;
    promise_.set_value(std::move(answer_));
  }

 private:
  Answer answer_;
  std::promise<Answer> promise_;
};

// All questions at once; the answers in their order.
inline std::vector<Answer> ask(Engine& engine, const std::vector<Question>& questions) {
  std::vector<std::future<Answer>> coming;
  for (const Question& question : questions) {
    const auto listener = std::make_shared<AnswerListener>();
    coming.push_back(listener->answer());
    const auto id = engine.submit(
        {.prompt = question.prompt, .sampling = question.sampling, .listener = listener});
    if (!id) throw std::runtime_error(id.error().to_string());
  }
  std::vector<Answer> answers;
  for (auto& answer : coming) answers.push_back(answer.get());
  return answers;
}

// Each alone, in an engine that remembers nothing of the others.
inline std::vector<Answer> ask_one_by_one(Engine& engine, const std::vector<Question>& questions) {
  std::vector<Answer> answers;
  for (const Question& question : questions) answers.push_back(ask(engine, {question}).at(0));
  return answers;
}

inline std::vector<TokenId> random_prompt(std::mt19937_64& random, size_t length) {
  std::vector<TokenId> prompt;
  while (prompt.size() < length) prompt.push_back(static_cast<TokenId>(random() % 4096));
  return prompt;
}

// Lengths around pages and chunks, three of them behind one prefix, under all ways to choose a
// token.
inline std::vector<Question> mixed_questions() {
  std::mt19937_64 random(11);
  std::vector<Question> questions;
  for (const size_t length :
       {1, 2, 7, 15, 16, 17, 31, 33, 48, 63, 65, 90, 128, 150, 200, 333, 520}) {
    questions.push_back({.prompt = random_prompt(random, length)});
  }
  const std::vector<TokenId> prefix = random_prompt(random, 100);
  for (const size_t length : {1, 20, 60}) {
    Question question{.prompt = prefix};
    for (const TokenId token : random_prompt(random, length)) question.prompt.push_back(token);
    questions.push_back(question);
  }
  const std::vector<SamplingParams> ways = {
      {.temperature = 0.0f},
      {.temperature = 1.0f},
      {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f},
      {.temperature = 0.0f, .repetition_penalty = 1.3f},
      {.temperature = 1.5f, .min_p = 0.02f},
      {.temperature = 0.7f,
       .presence_penalty = 0.5f,
       .frequency_penalty = 0.25f,
       .logit_bias = {{17, 4.0f}, {300, -8.0f}}},
  };
  for (size_t i = 0; i < questions.size(); ++i) {
    SamplingParams& sampling = questions[i].sampling = ways[i % ways.size()];
    sampling.max_tokens = 3 + static_cast<int>(i * 7 % 20);
    sampling.seed = 1000 + i;
    sampling.logprobs = static_cast<int>(i % 3) - 1;
    sampling.ignore_eos = i % 2 == 0;
  }
  return questions;
}

inline void expect_same(const Answer& got, const Answer& wanted) {
  EXPECT_EQ(got.reason, wanted.reason)
      << (got.error ? got.error->to_string() : std::string("no error"));
  ASSERT_EQ(got.tokens.size(), wanted.tokens.size());
  for (size_t i = 0; i < got.tokens.size(); ++i) {
    SCOPED_TRACE("token " + std::to_string(i));
    const GeneratedToken &a = got.tokens[i], &b = wanted.tokens[i];
    ASSERT_EQ(a.token, b.token);
    ASSERT_EQ(a.logprob, b.logprob);
    ASSERT_EQ(a.top.size(), b.top.size());
    for (size_t k = 0; k < a.top.size(); ++k) {
      ASSERT_EQ(a.top[k].token, b.top[k].token);
      ASSERT_EQ(a.top[k].logprob, b.top[k].logprob);
    }
  }
}

inline void expect_same(const std::vector<Answer>& got, const std::vector<Answer>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE("question " + std::to_string(i));
    expect_same(got[i], wanted[i]);
  }
}

}  // namespace fib
