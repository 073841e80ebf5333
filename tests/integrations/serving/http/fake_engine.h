#pragma once

// An engine without a model: it answers each prompt with the prompt itself, a token a step, or with
// what a test prescribes.

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "integrations/serving/engine/engine.h"

namespace fib::testing {

struct FakeEngineOptions {
  // The tokens to answer with; the end of text comes after them. Ignoring that means starting over.
  std::function<std::vector<TokenId>(const EngineRequest&)> answer;  // empty: the prompt
  size_t max_queued = 1024;
  int max_running = 1024;
  std::chrono::microseconds step_time{0};
  // Sequences whose prompt begins with this token fail after their first token.
  std::optional<TokenId> poison;
  // Those whose prompt begins with this one are refused as if the queue were full.
  std::optional<TokenId> surplus;
};

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(FakeEngineOptions options = {});
  ~FakeEngine() override;

  Result<RequestId> submit(EngineRequest request) override;
  void cancel(RequestId id) override;
  EngineStats stats() const override;
  void wake() override {}
  void drain() override;

  void set_overdue();            // as its stats tell
  void lose_device(std::string why);  // the same
  void set_executor_host_ns(double host_ns);  // the same
  void pause();  // no more tokens; cancellations still go through
  void resume();
  void step(int tokens);  // so many more for each sequence, while paused
  // Returns once the predicate is true of the stats; tests wait for what must come, however long it
  // takes.
  EngineStats wait_until(const std::function<bool(const EngineStats&)>& predicate) const;
  std::vector<EngineRequest> submitted() const;  // without their listeners

 private:
  struct Sequence {
    EngineRequest request;
    std::vector<TokenId> answer;
    int num_tokens = 0;
    bool is_cancelled = false;
  };
  // A listener is called without the mutex: it may call back.
  struct Call {
    std::shared_ptr<RequestListener> listener;
    std::optional<GeneratedToken> token;
    FinishReason reason = FinishReason::kStop;
    RequestUsage usage;
    std::optional<Error> error;
  };

  void run();
  std::vector<Call> take_step();
  Call next_call(Sequence& sequence);
  bool has_work() const;

  const FakeEngineOptions options_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<RequestId, Sequence> sequences_;
  std::vector<EngineRequest> submitted_;
  EngineStats stats_;
  RequestId next_id_ = 1;
  int steps_allowed_ = 0;
  bool is_paused_ = false, is_draining_ = false, is_ending_ = false;
  std::thread thread_;
};

}  // namespace fib::testing
