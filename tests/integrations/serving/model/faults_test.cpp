// A kernel that fails or gives nonsense in the middle of a step: those in the step hear of it,
// their pages are free again, and everybody else, then and later, is answered as if nothing had
// been.

#include "tests/integrations/serving/model/asked_engine.h"
#include "tests/integrations/serving/model/faulty_dispatch.h"

namespace fib {
namespace {

constexpr int kMaxPositions = 640;

class Faults : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    device_ = open_cpu_device(2).value().release();
    dispatch_ = new FaultyDispatch(open_house_dispatch(*device_, house_options()).value());
    executor_ = load_model(*dispatch_, {.folder = kTinyModel},
                           {.max_positions = kMaxPositions,
                            .max_step_tokens = 2048,
                            .max_decode_rows = 32,
                            .kv_bytes = size_t{16} << 20},
                           {})
                    .value()
                    .release();
    wanted_ =
        new std::vector<Answer>(ask_one_by_one(*start({.has_prefix_cache = false}), questions()));
  }
  static void TearDownTestSuite() {
    delete std::exchange(wanted_, nullptr);
    delete std::exchange(executor_, nullptr);
    delete std::exchange(dispatch_, nullptr);
    delete std::exchange(device_, nullptr);
  }

  static const std::vector<Question>& questions() {
    static const std::vector<Question> all = mixed_questions();
    return all;
  }
  static std::unique_ptr<Engine> start(EngineConfig config) {
    config.max_decode_rows = 32;
    config.eos_tokens = executor_->config().eos_tokens;
    return Engine::start(*executor_, std::move(config)).value();
  }

  // Asks everything while the fault strikes, and once more when it is over. All errors say `words`.
  static void expect_recovery(const EngineConfig& config, Fault fault, const std::string& words) {
    SCOPED_TRACE(fault.signature);
    const auto engine = start(config);
    dispatch_->arm(std::move(fault));
    const std::vector<Answer> answers = ask(*engine, questions());
    EXPECT_FALSE(dispatch_->is_armed()) << "there was no such call";
    uint64_t failed = 0;
    for (size_t i = 0; i < answers.size(); ++i) {
      SCOPED_TRACE("question " + std::to_string(i));
      if (answers[i].error) {
        ++failed;
        EXPECT_NE(answers[i].error->to_string().find(words), std::string::npos)
            << answers[i].error->to_string();
      } else {
        expect_same(answers[i], (*wanted_)[i]);
      }
    }
    EXPECT_GT(failed, 0u);
    EXPECT_LT(failed, answers.size()) << "a step is not all there is to do";
    expect_same(ask(*engine, questions()), *wanted_);
    engine->drain();
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.failed, failed);
    EXPECT_EQ(stats.pages_used, 0);
    EXPECT_EQ(stats.running + stats.waiting, 0);
  }

  static inline ServingDevice* device_ = nullptr;
  static inline FaultyDispatch* dispatch_ = nullptr;
  static inline ModelExecutor* executor_ = nullptr;
  static inline std::vector<Answer>* wanted_ = nullptr;  // asked alone, of healthy kernels
};

TEST_F(Faults, AKernelFails) {
  const std::pair<const char*, int> calls[] = {
      {"embedding", 2},         {"gqa_paged_prefill", 5},   {"moe_int4", 20},
      {"gqa_paged_decode", 11}, {"gemm_bf16_f32_n4096", 3}, {"sampling", 4},
  };
  for (const auto& [signature, skipped] : calls) {
    expect_recovery({.chunk_tokens = 256}, {.signature = signature, .skipped = skipped},
                    std::string(signature));
  }
}

TEST_F(Faults, AKernelFailsBetweenTheStepsOfACohort) {
  expect_recovery({.prefill = PrefillPolicy::kLayered, .cohort_tokens = 1200},
                  {.signature = "moe_int4", .skipped = 5}, "the kernel gave up");
}

TEST_F(Faults, NumbersThatAreNotFinite) {
  const std::pair<const char*, int> calls[] = {
      {"embedding", 1}, {"moe_int4", 13}, {"gqa_paged_decode", 20}, {"gemm_bf16_f32_n4096", 3}};
  for (const auto& [signature, skipped] : calls) {
    expect_recovery({.chunk_tokens = 256},
                    {.kind = Fault::Kind::kNan, .signature = signature, .skipped = skipped},
                    "not finite");
  }
}

// The first chunks of a long prompt want no token, so nobody sees what they are until the last.
TEST_F(Faults, WhatIsNotFiniteIsNotKeptForOthers) {
  const auto engine = start({.chunk_tokens = 64});
  std::mt19937_64 random(3);
  const Question question{.prompt = random_prompt(random, 300),
                          .sampling = {.max_tokens = 4, .temperature = 0.0f}};
  dispatch_->arm({.kind = Fault::Kind::kNan, .signature = "embedding"});
  const Answer broken = ask(*engine, {question}).at(0);
  ASSERT_TRUE(broken.error);
  EXPECT_EQ(broken.tokens.size(), 0u);
  const Answer answer = ask(*engine, {question}).at(0);
  EXPECT_EQ(answer.usage.cached_tokens, 0);
  expect_same(answer, ask(*start({.has_prefix_cache = false}), {question}).at(0));
}

TEST_F(Faults, AnAnswerEndsWhereThePositionsEnd) {
  const auto engine = start({});
  std::mt19937_64 random(4);
  const Question question{.prompt = random_prompt(random, kMaxPositions - 5),
                          .sampling = {.max_tokens = 100, .ignore_eos = true}};
  const Answer answer = ask(*engine, {question}).at(0);
  EXPECT_EQ(answer.reason, FinishReason::kLength);
  EXPECT_EQ(answer.tokens.size(), 5u);
}

TEST_F(Faults, PromptsOverTheLimitAreRefused) {
  const auto engine = start({});
  std::mt19937_64 random(4);
  const auto id = engine->submit({.prompt = random_prompt(random, kMaxPositions),
                                  .listener = std::make_shared<AnswerListener>()});
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(id.error().where, "prompt");
}

TEST_F(Faults, ACacheThatCouldNotHoldOneSequenceIsRefused) {
  const auto model =
      load_model(*dispatch_, {.folder = kTinyModel}, {.kv_bytes = size_t{1} << 20}, {});
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(model.error().where, "kv cache");
}

}  // namespace
}  // namespace fib
