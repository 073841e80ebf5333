#include "integrations/serving/traffic/ab_replay.h"

#include <mutex>
#include <utility>

namespace fib {
namespace {

// Answers by request, in the order of sending. Shared with the listeners, of which some may outlive
// an interrupted replay.
class Answers {
 public:
  void keep(size_t request, std::vector<TokenId> tokens) {
    const std::lock_guard lock(mutex_);
    if (request >= tokens_.size()) tokens_.resize(request + 1);
    tokens_[request] = std::move(tokens);
  }
  std::vector<std::vector<TokenId>> take(size_t requests) {
    const std::lock_guard lock(mutex_);
    tokens_.resize(requests);
    return std::exchange(tokens_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::vector<TokenId>> tokens_;
};

// Keeps the tokens of one request on their way to who listens.
class KeepingListener final : public RequestListener {
 public:
  KeepingListener(std::shared_ptr<RequestListener> next, std::shared_ptr<Answers> answers,
                  size_t request)
      : next_(std::move(next)), answers_(std::move(answers)), request_(request) {}

  void on_token(const GeneratedToken& token) override {
    tokens_.push_back(token.token);
    next_->on_token(token);
  }
  void on_end(FinishReason reason, const RequestUsage& usage,
              const std::optional<Error>& error) override {
    if (!error) answers_->keep(request_, std::move(tokens_));
    next_->on_end(reason, usage, error);
  }

 private:
  std::shared_ptr<RequestListener> next_;
  std::shared_ptr<Answers> answers_;
  size_t request_;
  std::vector<TokenId> tokens_;
};

class KeepingSink final : public RequestSink {
 public:
  explicit KeepingSink(Engine& engine) : sink_(engine) {}

  Result<void> send(EngineRequest request) override {
    request.listener =
        std::make_shared<KeepingListener>(std::move(request.listener), answers_, num_sent_++);
    return sink_.send(std::move(request));
  }
  std::vector<std::vector<TokenId>> take(size_t requests) { return answers_->take(requests); }

 private:
  EngineSink sink_;
  std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
  size_t num_sent_ = 0;
};

}  // namespace

AbSide run_ab_side(const Traffic& traffic, Engine& engine, ReplayOptions options) {
  options.counters = [&]() -> EngineCounters { return {engine.stats(), {}}; };
  KeepingSink sink(engine);
  AbSide side;
  side.report = replay(traffic, sink, options);
  side.answers = sink.take(traffic.size());
  if (side.report.engine) {
    const EngineStats& stats = side.report.engine->stats;
    side.busy_s = (stats.step_run_ns + stats.step_host_ns) / 1e9;
  }
  return side;
}

}  // namespace fib
