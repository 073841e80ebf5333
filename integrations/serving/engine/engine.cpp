#include "integrations/serving/engine/engine.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "integrations/serving/engine/scheduler.h"

namespace fib {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kNsPerSecond = 1e9;

double ns_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::nano>(end - begin).count();
}

// The scheduler and the executor belong to the engine's thread. Other threads leave word in an
// inbox, which the thread empties between steps; it sleeps when there is nothing to do.
class ThreadedEngine : public Engine {
 public:
  ThreadedEngine(Executor& executor, EngineConfig config)
      : executor_(executor),
        limits_(executor.limits()),
        config_(std::move(config)),
        scheduler_(limits_, config_),
        stats_(scheduler_.stats()),
        thread_([this] { work(); }) {}

  ~ThreadedEngine() override {
    {
      const std::lock_guard lock(mutex_);
      inbox_.is_stopping = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  Result<RequestId> submit(EngineRequest request) override {
    {
      // Asked before and after: who is refused should not have cost the hashes of a long prompt.
      const std::lock_guard lock(mutex_);
      FIB_CHECK(check_open());
    }
    auto sequence = FIB_TRY(Sequence::make(std::move(request), limits_, config_));
    const std::lock_guard lock(mutex_);
    FIB_CHECK(check_open());
    const RequestId id = sequence->id = next_id_++;
    inbox_.submitted.push_back(std::move(sequence));
    wake_.notify_one();
    return id;
  }

  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    inbox_.cancelled.push_back(id);
    wake_.notify_one();
  }

  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats = stats_;
    stats.waiting = static_cast<int>(num_waiting());
    stats.is_step_overdue =
        run_begin_ && ns_between(*run_begin_, Clock::now()) > config_.step_timeout_s * kNsPerSecond;
    return stats;
  }

  void wake() override {
    const std::lock_guard lock(mutex_);
    inbox_.has_chores = true;
    wake_.notify_one();
  }

  void drain() override {
    std::unique_lock lock(mutex_);
    is_draining_ = true;
    done_.wait(lock, [this] { return !is_busy_ && inbox_.submitted.empty(); });
  }

 private:
  struct Inbox {
    std::vector<std::unique_ptr<Sequence>> submitted;
    std::vector<RequestId> cancelled;
    bool has_chores = false;  // the executor's
    bool is_stopping = false;

    bool is_empty() const {
      return submitted.empty() && cancelled.empty() && !has_chores && !is_stopping;
    }
  };

  // Under the lock.
  size_t num_waiting() const { return stats_.waiting + inbox_.submitted.size(); }

  // Under the lock.
  Result<void> check_open() const {
    if (lost_) return fail(*lost_);
    if (is_draining_) {
      return fail(ErrorCode::kEnvironment, "the engine is shutting down", {},
                  "send the request to another server");
    }
    if (num_waiting() >= config_.max_queued) {
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("{} requests are waiting already", num_waiting()), {},
                  "try again later");
    }
    return {};
  }

  void work() {
    bool is_stopping = false;
    while (!is_stopping) {
      Inbox inbox = wait();
      is_stopping = inbox.is_stopping;
      accept(std::move(inbox));
      if (is_stopping) break;
      if (executor_.tend()) wake();
      step();
    }
    scheduler_.cancel_all();
    drop_stash_if_due();
    deliver();
  }

  Inbox wait() {
    std::unique_lock lock(mutex_);
    publish_stats();
    is_busy_ = !scheduler_.is_idle();
    if (!is_busy_) done_.notify_all();
    wake_.wait(lock, [this] { return is_busy_ || !inbox_.is_empty(); });
    is_busy_ = true;
    Inbox inbox = std::exchange(inbox_, {});
    stats_.waiting += static_cast<int>(inbox.submitted.size());
    return inbox;
  }

  void accept(Inbox inbox) {
    for (auto& sequence : inbox.submitted) scheduler_.add(std::move(sequence));
    for (const RequestId id : inbox.cancelled) scheduler_.cancel(id);
  }

  void step() {
    const auto begin = Clock::now();
    const Step* step = scheduler_.plan();
    drop_stash_if_due();
    if (step == nullptr) return deliver();
    const auto run_begin = Clock::now();
    {
      const std::lock_guard lock(mutex_);
      publish_stats();  // who was admitted waits no more
      run_begin_ = run_begin;
    }
    Result<StepResult> result = executor_.run(*step);
    const auto run_end = Clock::now();
    {
      const std::lock_guard lock(mutex_);
      run_begin_.reset();
    }

    if (result) {
      if (result->host_ns) executor_host_ns_ = executor_host_ns_.value_or(0.0) + *result->host_ns;
      scheduler_.complete(*std::move(result));
    } else if (result.error().code == ErrorCode::kWorkerLost) {
      lose(result.error());
    } else {
      scheduler_.fail(result.error());
      drop_stash_if_due();
    }
    deliver();
    step_run_ns_ += ns_between(run_begin, run_end);
    step_host_ns_ += ns_between(begin, run_begin) + ns_between(run_end, Clock::now());
  }

  // The device is gone, and everybody with it: those who run, wait or were about to.
  void lose(const Error& error) {
    {
      const std::lock_guard lock(mutex_);
      lost_ = error;
      accept({.submitted = std::exchange(inbox_.submitted, {})});
    }
    scheduler_.fail_all(error);
  }

  void drop_stash_if_due() {
    if (scheduler_.take_stash_drop()) executor_.drop_stash();
  }

  // Without the lock: a listener may cancel.
  void deliver() {
    for (RequestEvent& event : scheduler_.take_events()) {
      if (const auto* token = std::get_if<GeneratedToken>(&event.what)) {
        event.listener->on_token(*token);
      } else {
        const auto& end = std::get<RequestEnd>(event.what);
        event.listener->on_end(end.reason, end.usage, end.error);
      }
    }
  }

  // Under the lock.
  void publish_stats() {
    stats_ = scheduler_.stats();
    stats_.is_device_lost = lost_.has_value();
    if (lost_) stats_.device_error = lost_->to_string();
    stats_.step_run_ns = step_run_ns_;
    stats_.step_host_ns = step_host_ns_;
    stats_.executor_host_ns = executor_host_ns_;
  }

  Executor& executor_;
  const ExecutorLimits limits_;
  const EngineConfig config_;

  // Of the engine's thread.
  Scheduler scheduler_;
  double step_run_ns_ = 0.0, step_host_ns_ = 0.0;
  std::optional<double> executor_host_ns_;

  // Of all threads.
  mutable std::mutex mutex_;
  std::condition_variable wake_, done_;
  Inbox inbox_;
  RequestId next_id_ = 1;
  EngineStats stats_;
  std::optional<Clock::time_point> run_begin_;  // of the step under way
  std::optional<Error> lost_;
  bool is_draining_ = false;
  bool is_busy_ = false;  // between taking the inbox and having nothing left to do

  std::thread thread_;  // last: it uses all the others
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::start(Executor& executor, EngineConfig config) {
  FIB_CHECK(config.check(executor.limits()));
  return std::make_unique<ThreadedEngine>(executor, std::move(config));
}

}  // namespace fib
