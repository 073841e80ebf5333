// Kernels exchanged while an engine serves: those that are right take over, those that aren't never
// show in an answer, and no request is dropped.

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>

#include "integrations/package/call_times.h"
#include "integrations/package/swappable_dispatch.h"
#include "tests/integrations/serving/model/asked_engine.h"
#include "tests/integrations/serving/model/hooked_dispatch.h"

namespace fib {
namespace {

using testing::HasSubstr;

constexpr int kRounds = 40;  // of asking, by when an exchange has come to its end

Result<void> run_as_it_is(Kernel& kernel, const KernelCall& call) { return kernel.run(call); }

// As a kernel that forgets a factor would.
void double_bfloat16(const Operand& output) {
  int64_t count = 1;
  for (int d = 0; d < output.rank; ++d) count *= output.shape[d];
  for (int64_t i = 0; i < count; ++i) {
    store_element(DType::kBFloat16, output.data, i,
                  2.0 * load_element(DType::kBFloat16, output.data, i));
  }
}

class Swap : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    device_ = open_cpu_device(2).value().release();
    const auto house = open_house();
    const auto executor = load(*house);
    const auto engine = start(*executor, {.has_prefix_cache = false});
    wanted_ = new std::vector<Answer>(ask_one_by_one(*engine, questions()));
    wanted_greedy_ = new Answer(ask(*engine, {greedy()}).at(0));
  }
  static void TearDownTestSuite() {
    delete std::exchange(wanted_greedy_, nullptr);
    delete std::exchange(wanted_, nullptr);
    delete std::exchange(device_, nullptr);
  }

  static const std::vector<Question>& questions() {
    static const std::vector<Question> all = mixed_questions();
    return all;
  }
  // Alone in the batch, so that it is the argmax kernel that chooses its tokens.
  static Question greedy() {
    Question question = questions()[0];
    question.sampling = {.max_tokens = 30, .temperature = 0.0f, .ignore_eos = true};
    return question;
  }
  static std::unique_ptr<Dispatch> open_house() {
    return open_house_dispatch(*device_, house_options()).value();
  }
  static std::unique_ptr<ModelExecutor> load(Dispatch& dispatch) {
    return load_model(dispatch, {.folder = kTinyModel},
                      {.max_positions = 640,
                       .max_step_tokens = 2048,
                       .max_decode_rows = 32,
                       .kv_bytes = size_t{16} << 20},
                      {})
        .value();
  }
  static std::unique_ptr<Engine> start(ModelExecutor& executor, EngineConfig config) {
    config.max_decode_rows = 32;
    config.eos_tokens = executor.config().eos_tokens;
    return Engine::start(executor, std::move(config)).value();
  }

  void open(SwapOptions options, EngineConfig config = {}) {
    engine_.reset();
    executor_.reset();
    dispatch_ = std::make_unique<SwappableDispatch>(open_house(), "first", options);
    executor_ = load(*dispatch_);
    engine_ = start(*executor_, std::move(config));
  }
  // Proposes the house's kernels with a hook.
  void propose(HookedDispatch::Hook hook, const std::string& name = "second") {
    ASSERT_TRUE(dispatch_->begin_loading(name));
    dispatch_->propose([hook]() -> Result<std::unique_ptr<Dispatch>> {
      return std::make_unique<HookedDispatch>(
          FIB_TRY(open_house_dispatch(*device_, house_options())), hook);
    });
    engine_->wake();
  }
  // Asks everything again and again until the exchange is in one of the states.
  SwapStatus ask_until(std::initializer_list<SwapState> states) {
    for (int round = 0; round < kRounds; ++round) {
      expect_same(ask(*engine_, questions()), *wanted_);
      expect_same(ask(*engine_, {greedy()}).at(0), *wanted_greedy_);
      const SwapStatus status = dispatch_->status();
      if (std::find(states.begin(), states.end(), status.state) != states.end()) return status;
    }
    ADD_FAILURE() << "still " << swap_state_name(dispatch_->status().state);
    return dispatch_->status();
  }
  void expect_all_of(const SwapStatus& status, const std::string& package) {
    EXPECT_EQ(status.signatures.size(), dispatch_->kernels().size());
    for (const SwappedSignature& signature : status.signatures) {
      EXPECT_EQ(signature.package, package) << signature.signature;
      EXPECT_EQ(signature.candidate, "") << signature.signature;
    }
  }
  void expect_nothing_failed() {
    engine_->drain();
    EXPECT_EQ(engine_->stats().failed, 0u);
    EXPECT_EQ(engine_->stats().pages_used, 0);
  }

  static inline ServingDevice* device_ = nullptr;
  static inline std::vector<Answer>* wanted_ = nullptr;  // asked alone, of kernels that stay
  static inline Answer* wanted_greedy_ = nullptr;

  std::unique_ptr<SwappableDispatch> dispatch_;
  std::unique_ptr<ModelExecutor> executor_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(Swap, AnswersAreTheSameWithoutAnExchange) {
  open({});
  expect_same(ask(*engine_, questions()), *wanted_);
  const SwapStatus status = dispatch_->status();
  EXPECT_EQ(status.state, SwapState::kServing);
  EXPECT_EQ(status.package, "first");
  expect_all_of(status, "first");
}

TEST_F(Swap, RightKernelsTakeOver) {
  open({.watch_steps = 32});
  CallTimes times(*dispatch_);
  propose(run_as_it_is);
  const SwapStatus watching = ask_until({SwapState::kWatching, SwapState::kServing});
  EXPECT_THAT(watching.reason, "");
  ask_until({SwapState::kServing});
  // A signature that was not called in time follows when it is.
  expect_same(ask(*engine_, {greedy()}).at(0), *wanted_greedy_);
  const SwapStatus done = dispatch_->status();
  EXPECT_EQ(done.package, "second");
  EXPECT_EQ(done.switched, 1u);
  EXPECT_EQ(done.rolled_back, 0u);
  expect_all_of(done, "second");
  EXPECT_GT(executor_->memory().weights, 0u);
  // Calls that ran beside others to be compared are not counted.
  uint64_t calls = 0;
  for (const CallTime& time : times.read()) calls += time.calls;
  EXPECT_GT(calls, 0u);
  expect_nothing_failed();
}

TEST_F(Swap, NobodyWaitsForASignatureThatIsSeldomCalled) {
  open({.watch_steps = 8});
  propose(run_as_it_is);
  while (dispatch_->status().state != SwapState::kShadowing) std::this_thread::yield();
  Question once = greedy();  // calls argmax; what follows draws
  once.sampling.max_tokens = 1;
  Question drawn = greedy();
  drawn.sampling = {.max_tokens = 24, .temperature = 1.0f, .seed = 3, .ignore_eos = true};
  ask(*engine_, {once});
  for (int round = 0; dispatch_->status().state != SwapState::kServing; ++round) {
    ASSERT_LT(round, kRounds) << "still " << swap_state_name(dispatch_->status().state);
    ask(*engine_, {drawn});
  }
  for (const SwappedSignature& signature : dispatch_->status().signatures) {
    const bool is_seldom = signature.signature.starts_with("argmax");
    EXPECT_EQ(signature.package, is_seldom ? "first" : "second") << signature.signature;
    EXPECT_EQ(signature.candidate, is_seldom ? "second" : "") << signature.signature;
  }
  expect_same(ask(*engine_, {greedy()}).at(0), *wanted_greedy_);
  expect_all_of(dispatch_->status(), "second");
  expect_nothing_failed();
}

TEST_F(Swap, OneExchangeAfterTheOther) {
  open({.shadow_steps = 4, .watch_steps = 8});
  for (const std::string name : {"second", "third"}) {
    propose(run_as_it_is, name);
    const SwapStatus status = ask_until({SwapState::kServing});
    EXPECT_EQ(status.package, name);
  }
  expect_nothing_failed();
}

TEST_F(Swap, WrongNumbersNeverServe) {
  for (const std::string wrong : {"rmsnorm", "qk_norm_rope", "gqa_paged_decode", "moe_int4"}) {
    SCOPED_TRACE(wrong);
    open({});
    propose([wrong](Kernel& kernel, const KernelCall& call) -> Result<void> {
      FIB_CHECK(kernel.run(call));
      if (kernel.signature().name.starts_with(wrong)) double_bfloat16(call.outputs[0]);
      return {};
    });
    const SwapStatus status = ask_until({SwapState::kRolledBack});
    EXPECT_THAT(status.reason, HasSubstr(wrong));
    EXPECT_THAT(status.reason, HasSubstr("differ"));
    EXPECT_EQ(status.package, "first");
    EXPECT_EQ(status.candidate, "second");
    EXPECT_EQ(status.rolled_back, 1u);
    expect_all_of(status, "first");
    expect_nothing_failed();
  }
}

// Outputs in place: what a kernel writes into the cache is compared too.
TEST_F(Swap, WrongKeysInTheCacheAreFound) {
  open({});
  propose([](Kernel& kernel, const KernelCall& call) -> Result<void> {
    FIB_CHECK(kernel.run(call));
    if (kernel.signature().op_type == "rope") double_bfloat16(call.outputs[1]);
    return {};
  });
  const SwapStatus status = ask_until({SwapState::kRolledBack});
  EXPECT_THAT(status.reason, HasSubstr("k_cache_out"));
  expect_nothing_failed();
}

TEST_F(Swap, AnotherTokenThanTheArgmaxIsFound) {
  open({});
  propose([](Kernel& kernel, const KernelCall& call) -> Result<void> {
    FIB_CHECK(kernel.run(call));
    if (kernel.signature().name.starts_with("argmax")) {
      reinterpret_cast<int32_t*>(call.outputs[0].data)[0] ^= 1;
    }
    return {};
  });
  EXPECT_THAT(ask_until({SwapState::kRolledBack}).reason, HasSubstr("argmax"));
  expect_nothing_failed();
}

TEST_F(Swap, AKernelThatRefusesIsNotServed) {
  open({});
  propose([](Kernel& kernel, const KernelCall& call) -> Result<void> {
    if (kernel.signature().op_type != "moe") return kernel.run(call);
    return fail(ErrorCode::kUnsupported, "not today", kernel.signature().name);
  });
  EXPECT_THAT(ask_until({SwapState::kRolledBack}).reason, HasSubstr("not today"));
  expect_nothing_failed();
}

// The step in which a kernel fails is done again by those before it.
TEST_F(Swap, AFaultWhileWatchedTakesEverythingBack) {
  const EngineConfig configs[] = {{.chunk_tokens = 256},
                                  {.prefill = PrefillPolicy::kLayered, .cohort_tokens = 1200}};
  for (const EngineConfig& config : configs) {
    for (const std::string culprit : {"embedding", "moe_int4", "gqa_paged_prefill", "sampling"}) {
      SCOPED_TRACE(culprit);
      open({.shadow_steps = 4, .watch_steps = 1 << 20}, config);
      const auto is_broken = std::make_shared<std::atomic<bool>>(false);
      propose([culprit, is_broken](Kernel& kernel, const KernelCall& call) -> Result<void> {
        if (*is_broken && kernel.signature().name.starts_with(culprit)) {
          return fail(ErrorCode::kEnvironment, "the kernel gave up", kernel.signature().name);
        }
        return kernel.run(call);
      });
      ask_until({SwapState::kWatching});
      *is_broken = true;
      const SwapStatus status = ask_until({SwapState::kRolledBack});
      EXPECT_THAT(status.reason, HasSubstr("the kernel gave up"));
      expect_all_of(status, "first");
      expect_nothing_failed();
    }
  }
}

TEST_F(Swap, NumbersThatTurnWrongWhileWatchedTakeEverythingBack) {
  // Each call is compared, so that the first wrong one is found before anybody sees it.
  open({.call_interval = 1, .shadow_steps = 4, .watch_steps = 1 << 20});
  const auto is_broken = std::make_shared<std::atomic<bool>>(false);
  propose([is_broken](Kernel& kernel, const KernelCall& call) -> Result<void> {
    FIB_CHECK(kernel.run(call));
    if (*is_broken && kernel.signature().op_type == "gqa_paged") double_bfloat16(call.outputs[0]);
    return {};
  });
  ask_until({SwapState::kWatching});
  *is_broken = true;
  const SwapStatus status = ask_until({SwapState::kRolledBack});
  EXPECT_THAT(status.reason, HasSubstr("gqa_paged"));
  expect_nothing_failed();
}

TEST_F(Swap, WhatCannotBeOpenedIsSaid) {
  open({});
  ASSERT_TRUE(dispatch_->begin_loading("broken"));
  const auto again = dispatch_->begin_loading("another");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_THAT(again.error().to_string(), HasSubstr("'broken' is being loaded"));
  EXPECT_EQ(dispatch_->status().state, SwapState::kLoading);
  dispatch_->propose([]() -> Result<std::unique_ptr<Dispatch>> {
    return fail(ErrorCode::kInvalidInput, "the file is cut short", "broken.so");
  });
  while (dispatch_->tend()) {
  }
  const SwapStatus status = dispatch_->status();
  EXPECT_EQ(status.state, SwapState::kRolledBack);
  EXPECT_EQ(status.candidate, "broken");
  EXPECT_THAT(status.reason, HasSubstr("broken.so: the file is cut short"));
  expect_same(ask(*engine_, questions()), *wanted_);
  ASSERT_TRUE(dispatch_->begin_loading("another"));
}

// Nothing runs, and still the kernels are warmed: the engine is woken for it.
TEST_F(Swap, AnIdleEngineWarmsUp) {
  open({});
  propose(run_as_it_is);
  while (dispatch_->status().state != SwapState::kShadowing) std::this_thread::yield();
  expect_nothing_failed();
}

TEST_F(Swap, ASignatureThatTheCandidateLacksStays) {
  open({.shadow_steps = 4, .watch_steps = 8});
  class Lacking : public HookedDispatch {
   public:
    using HookedDispatch::HookedDispatch;
    Result<Kernel*> resolve(const SignatureRequest& request) override {
      if (request.name.starts_with("gqa")) return fail(ErrorCode::kNotFound, "no", request.name);
      return HookedDispatch::resolve(request);
    }
  };
  ASSERT_TRUE(dispatch_->begin_loading("partial"));
  dispatch_->propose([]() -> Result<std::unique_ptr<Dispatch>> {
    return std::make_unique<Lacking>(open_house(), run_as_it_is);
  });
  engine_->wake();
  const SwapStatus status = ask_until({SwapState::kServing});
  for (const SwappedSignature& signature : status.signatures) {
    const bool is_lacking = signature.signature.starts_with("gqa");
    EXPECT_EQ(signature.package, is_lacking ? "first" : "partial") << signature.signature;
  }
  expect_nothing_failed();
}

}  // namespace
}  // namespace fib
