#include "integrations/serving/engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "tests/integrations/serving/engine/fake_executor.h"
#include "tests/integrations/serving/engine/recording_listener.h"

namespace fib {
namespace {

using namespace fib::testing;

const ExecutorLimits kLimits{.num_layers = 4,
                             .vocab_size = 50,
                             .max_positions = 1'000'000,
                             .page_size = 4,
                             .num_pages = 50'000,
                             .max_step_tokens = 1000,
                             .max_decode_rows = 64,
                             .is_moe = true};

// Lets the engine's thread wait before a step until the test says so.
class GatedExecutor : public FakeExecutor {
 public:
  using FakeExecutor::FakeExecutor;

  Result<StepResult> run(const Step& step) override {
    std::unique_lock lock(mutex_);
    is_waiting_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
    is_waiting_ = false;
    return FakeExecutor::run(step);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    is_open_ = false;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void wait_for_step() {  // while closed
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_waiting_; });
  }
  // Only while a step waits.
  void fail_with(ErrorCode code) { next_error = Error{.code = code, .message = "it broke"}; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = true, is_waiting_ = false;
};

// To be read after the end.
class WaitingListener : public RecordingListener {
 public:
  void on_token(const GeneratedToken& token) override {
    RecordingListener::on_token(token);
    if (when_token) when_token();
  }
  void on_end(FinishReason ended, const RequestUsage& used,
              const std::optional<Error>& why) override {
    const std::lock_guard lock(mutex_);
    RecordingListener::on_end(ended, used, why);
    changed_.notify_all();
  }
  FinishReason wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reason.has_value(); });
    return *reason;
  }
  std::function<void()> when_token;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

struct Asked {
  EngineRequest request;
  std::shared_ptr<WaitingListener> listener = std::make_shared<WaitingListener>();
};

Asked ask(TokenId first, int max_tokens = 5) {
  Asked asked;
  asked.request.prompt = {first, 2, 3};
  asked.request.sampling.max_tokens = max_tokens;
  asked.request.listener = asked.listener;
  return asked;
}

class EngineTest : public ::testing::Test {
 protected:
  void start(EngineConfig config = {}) {
    config_ = config;
    engine_ = Engine::start(executor_, config).value();
  }
  void TearDown() override { executor_.open(); }

  EngineConfig config_;
  GatedExecutor executor_{kLimits, config_};
  std::unique_ptr<Engine> engine_;  // first to go
};

TEST_F(EngineTest, AnswersAndSleepsAndAnswersAgain) {
  start();
  for (int round = 0; round < 3; ++round) {
    const Asked asked = ask(round);
    ASSERT_TRUE(engine_->submit(asked.request));
    EXPECT_EQ(asked.listener->wait(), FinishReason::kLength);
    EXPECT_EQ(asked.listener->tokens, generate(asked.request, kLimits, config_));
  }
}

TEST_F(EngineTest, ServesManyThreads) {
  start();
  constexpr int kThreads = 4, kEach = 25;
  std::vector<std::thread> clients;
  for (int client = 0; client < kThreads; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; i < kEach; ++i) {
        const Asked asked = ask((client * kEach + i) % 50, 1 + i);
        const auto id = engine_->submit(asked.request);
        ASSERT_TRUE(id) << id.error().to_string();
        const bool is_cancelled = i % 3 == 0;
        if (is_cancelled) engine_->cancel(*id);
        const FinishReason reason = asked.listener->wait();
        EXPECT_TRUE(is_cancelled || reason == FinishReason::kLength);
        const auto expected = generate(asked.request, kLimits, config_);
        ASSERT_LE(asked.listener->tokens.size(), expected.size());
        EXPECT_TRUE(std::equal(asked.listener->tokens.begin(), asked.listener->tokens.end(),
                               expected.begin()));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  engine_->drain();
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.finished + stats.cancelled, kThreads * kEach);
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_EQ(stats.pages_used, 0);
  EXPECT_EQ(stats.pages_total, kLimits.num_pages);
  EXPECT_GT(stats.step_run_ns, 0.0);
  EXPECT_GT(stats.step_host_ns, 0.0);
}

TEST_F(EngineTest, AddsTheHostsPartOfTheExecutor) {
  start();
  EXPECT_FALSE(engine_->stats().executor_host_ns);
  const auto serve = [&] {
    const Asked asked = ask(1);
    ASSERT_TRUE(engine_->submit(asked.request));
    asked.listener->wait();
  };
  serve();
  engine_->drain();
  EngineStats stats = engine_->stats();
  EXPECT_FALSE(stats.executor_host_ns) << "this executor doesn't know";
  EXPECT_EQ(stats.host_ns(), stats.step_host_ns);
  engine_.reset();

  executor_.host_ns = 250.0;
  start();
  serve();
  engine_->drain();
  stats = engine_->stats();
  EXPECT_EQ(stats.executor_host_ns, 250.0 * static_cast<double>(stats.steps));
  EXPECT_EQ(stats.host_ns(), stats.step_host_ns + *stats.executor_host_ns);
}

TEST_F(EngineTest, RefusesWhatItCantServe) {
  start();
  Asked asked = ask(1);
  asked.request.sampling.top_p = 3.0f;
  EXPECT_EQ(engine_->submit(asked.request).error().where, "top_p");
  EXPECT_FALSE(asked.listener->reason) << "refused requests hear nothing";
}

TEST_F(EngineTest, RefusesWhenTheQueueIsFull) {
  start({.max_decode_rows = 1, .max_queued = 2});
  executor_.close();
  const Asked running = ask(1), first = ask(2), second = ask(3), third = ask(4);
  ASSERT_TRUE(engine_->submit(running.request));
  executor_.wait_for_step();
  ASSERT_TRUE(engine_->submit(first.request));
  ASSERT_TRUE(engine_->submit(second.request));
  EXPECT_EQ(engine_->submit(third.request).error().code, ErrorCode::kResourceExhausted);
  executor_.open();
  EXPECT_EQ(second.listener->wait(), FinishReason::kLength);
}

TEST_F(EngineTest, AListenerMayCancelAndHearsNoFurtherToken) {
  start();
  executor_.close();
  const Asked asked = ask(1, 500);
  const RequestId id = engine_->submit(asked.request).value();
  asked.listener->when_token = [&] {
    if (asked.listener->tokens.size() == 3) engine_->cancel(id);
  };
  executor_.wait_for_step();
  executor_.open();
  EXPECT_EQ(asked.listener->wait(), FinishReason::kCancelled);
  EXPECT_EQ(asked.listener->tokens.size(), 3u);
}

TEST_F(EngineTest, GoesOnAfterAFailedStep) {
  start();
  executor_.close();
  const Asked asked = ask(1), next = ask(2);
  ASSERT_TRUE(engine_->submit(asked.request));
  executor_.wait_for_step();
  executor_.fail_with(ErrorCode::kEnvironment);
  executor_.open();
  EXPECT_EQ(asked.listener->wait(), FinishReason::kError);
  EXPECT_EQ(asked.listener->error->message, "it broke");
  ASSERT_TRUE(engine_->submit(next.request));
  EXPECT_EQ(next.listener->wait(), FinishReason::kLength);
  EXPECT_EQ(next.listener->tokens, generate(next.request, kLimits, config_));
}

TEST_F(EngineTest, EndsAllWhenTheDeviceIsGone) {
  start({.max_decode_rows = 1});
  executor_.close();
  const Asked running = ask(1), waiting = ask(2), late = ask(3);
  ASSERT_TRUE(engine_->submit(running.request));
  executor_.wait_for_step();
  ASSERT_TRUE(engine_->submit(waiting.request));
  executor_.fail_with(ErrorCode::kWorkerLost);
  executor_.open();
  EXPECT_EQ(running.listener->wait(), FinishReason::kError);
  EXPECT_EQ(waiting.listener->wait(), FinishReason::kError);
  EXPECT_EQ(waiting.listener->error->code, ErrorCode::kWorkerLost);
  const auto refused = engine_->submit(late.request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kWorkerLost);
  EXPECT_EQ(refused.error().message, "it broke");
  engine_->drain();
  EXPECT_TRUE(engine_->stats().is_device_lost);
  EXPECT_EQ(engine_->stats().device_error, "it broke");
}

TEST_F(EngineTest, TellsOfAStepThatTakesTooLongAndGoesOn) {
  start({.step_timeout_s = 1e-6});
  EXPECT_FALSE(engine_->stats().is_step_overdue) << "there is no step";
  executor_.close();
  const Asked asked = ask(1);
  ASSERT_TRUE(engine_->submit(asked.request));
  executor_.wait_for_step();
  while (!engine_->stats().is_step_overdue) std::this_thread::yield();
  executor_.open();
  EXPECT_EQ(asked.listener->wait(), FinishReason::kLength);
  engine_->drain();
  EXPECT_FALSE(engine_->stats().is_step_overdue);
}

TEST_F(EngineTest, DrainsWhatItHas) {
  start({.max_decode_rows = 2});
  std::vector<Asked> all;
  for (int i = 0; i < 6; ++i) all.push_back(ask(i));
  for (const Asked& asked : all) ASSERT_TRUE(engine_->submit(asked.request));
  engine_->drain();
  for (const Asked& asked : all) EXPECT_EQ(asked.listener->reason, FinishReason::kLength);
  EXPECT_EQ(engine_->submit(ask(1).request).error().code, ErrorCode::kEnvironment);
}

TEST_F(EngineTest, CancelsWhatIsLeftAtTheEnd) {
  start({.max_decode_rows = 1});
  executor_.close();
  // An answer that would take minutes.
  const Asked running = ask(1, 1'000'000), waiting = ask(2);
  ASSERT_TRUE(engine_->submit(running.request));
  executor_.wait_for_step();
  ASSERT_TRUE(engine_->submit(waiting.request));
  executor_.open();
  engine_.reset();
  EXPECT_EQ(waiting.listener->wait(), FinishReason::kCancelled);
  EXPECT_EQ(running.listener->wait(), FinishReason::kCancelled);
}

TEST(EngineConfig, NamesTheFieldThatIsOutOfRange) {
  const std::pair<const char*, EngineConfig> wrong[] = {
      {"chunk_tokens", {.chunk_tokens = 0}},       {"cohort_tokens", {.cohort_tokens = -1}},
      {"max_decode_rows", {.max_decode_rows = 0}}, {"max_queued", {.max_queued = 0}},
      {"watermark", {.watermark = 1.0}},           {"watermark", {.watermark = -0.1}},
      {"step_timeout_s", {.step_timeout_s = 0.0}},
      {"eos_tokens", {.eos_tokens = {1, 50}}},
  };
  FakeExecutor executor(kLimits, {});
  for (const auto& [field, config] : wrong) {
    const auto engine = Engine::start(executor, config);
    ASSERT_FALSE(engine) << field;
    EXPECT_EQ(engine.error().code, ErrorCode::kInvalidInput);
    EXPECT_EQ(engine.error().where, field);
  }
}

}  // namespace
}  // namespace fib
