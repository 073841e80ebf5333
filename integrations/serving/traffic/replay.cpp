#include "integrations/serving/traffic/replay.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace fib {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::milliseconds(50);  // between looks at is_interrupted

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// What has ended so far. Shared with the listeners, of which some may outlive an interrupted
// replay.
class ReplayLog {
 public:
  void add(MeasuredRequest request, bool is_warm_up) {
    const std::lock_guard lock(mutex_);
    ++num_ended_;
    if (!is_warm_up) {
      measured_.push_back(std::move(request));
      last_end_ = Clock::now();
    }
    changed_.notify_all();
  }
  bool wait_until(Clock::time_point time, size_t ended) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, time, [&] { return num_ended_ >= ended; });
  }
  size_t num_ended() const {
    const std::lock_guard lock(mutex_);
    return num_ended_;
  }
  struct Ended {  // at one moment
    size_t all = 0;
    std::vector<MeasuredRequest> measured;
    Clock::time_point last;  // of the measured
  };
  Ended ended() const {
    const std::lock_guard lock(mutex_);
    return {num_ended_, measured_, last_end_};
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  size_t num_ended_ = 0;
  std::vector<MeasuredRequest> measured_;
  Clock::time_point last_end_;
};

// Takes the times of one request; its own alone, so that tokens cost no lock.
class TimingListener final : public RequestListener {
 public:
  TimingListener(std::shared_ptr<ReplayLog> log, Clock::time_point due, bool is_warm_up,
                 int input_tokens)
      : log_(std::move(log)), due_(due), is_warm_up_(is_warm_up) {
    request_.input_tokens = input_tokens;
  }

  void on_token(const GeneratedToken&) override {
    const auto now = Clock::now();
    if (num_tokens_++ == 0) {
      request_.ttft_s = seconds(now - due_);
    } else {
      request_.gaps_s.push_back(seconds(now - last_));
    }
    last_ = now;
  }

  void on_end(FinishReason reason, const RequestUsage& usage,
              const std::optional<Error>& error) override {
    request_.end_to_end_s = seconds(Clock::now() - due_);
    request_.output_tokens = std::max(usage.completion_tokens, num_tokens_);
    request_.cached_tokens = usage.cached_tokens;
    if (usage.queued_ns > 0.0) request_.queue_s = usage.queued_ns / 1e9;
    if (error) {
      request_.error = error->to_string();
    } else if (reason == FinishReason::kCancelled) {
      request_.error = "cancelled";
    } else if (num_tokens_ == 0) {
      request_.error = "ended without a token";
    }
    log_->add(std::move(request_), is_warm_up_);
  }

 private:
  std::shared_ptr<ReplayLog> log_;
  Clock::time_point due_, last_;
  bool is_warm_up_;
  int num_tokens_ = 0;
  MeasuredRequest request_;
};

EngineCounters difference(const EngineCounters& end, const EngineCounters& start) {
  EngineCounters counters = end;
  EngineStats& stats = counters.stats;
  stats.steps -= start.stats.steps;
  stats.prompt_tokens -= start.stats.prompt_tokens;
  stats.cached_tokens -= start.stats.cached_tokens;
  stats.prefill_tokens -= start.stats.prefill_tokens;
  stats.generated_tokens -= start.stats.generated_tokens;
  stats.preemptions -= start.stats.preemptions;
  stats.finished -= start.stats.finished;
  stats.cancelled -= start.stats.cancelled;
  stats.failed -= start.stats.failed;
  stats.step_host_ns -= start.stats.step_host_ns;
  stats.step_run_ns -= start.stats.step_run_ns;
  if (stats.executor_host_ns) {
    *stats.executor_host_ns -= start.stats.executor_host_ns.value_or(0.0);
  }
  counters.experts = end.experts.since(start.experts);
  return counters;
}

class Replay {
 public:
  Replay(const Traffic& traffic, RequestSink& sink, const ReplayOptions& options)
      : traffic_(traffic), sink_(sink), options_(options) {}

  ReplayReport run() {
    const auto start = Clock::now();
    size_t sent = 0;
    auto measured_from = start;
    std::optional<EngineCounters> counters;
    for (; sent < traffic_.size() && !is_interrupted_; ++sent) {
      // Made before it is due, so that making it takes no time from it.
      EngineRequest request = traffic_.request(sent);
      const auto due = start + std::chrono::duration_cast<Clock::duration>(
                                   std::chrono::duration<double>(traffic_.arrival_s(sent)));
      if (!wait(due, kNever, sent)) break;
      if (!traffic_.is_warm_up(sent) && (sent == 0 || traffic_.is_warm_up(sent - 1))) {
        measured_from = due;
        if (options_.counters) counters = options_.counters();
      }
      send(std::move(request), due, traffic_.is_warm_up(sent));
    }
    wait(Clock::time_point::max(), sent, sent);

    const ReplayLog::Ended ended = log_->ended();
    const bool has_any = !ended.measured.empty();
    ReplayReport report = make_report(ended.measured, options_.level,
                                      has_any ? seconds(ended.last - measured_from) : 0.0);
    report.warm_up = ended.all - ended.measured.size();
    report.unfinished = traffic_.size() - ended.all;
    if (counters) report.engine = difference(options_.counters(), *counters);
    return report;
  }

 private:
  static constexpr size_t kNever = SIZE_MAX;

  // Until the time has come or so many requests have ended; false: interrupted.
  bool wait(Clock::time_point time, size_t ended, size_t sent) {
    while (true) {
      if (options_.is_interrupted && options_.is_interrupted()) {
        is_interrupted_ = true;
        return false;
      }
      if (options_.progress) options_.progress(sent, log_->num_ended(), traffic_.size());
      if (Clock::now() >= time) return true;
      if (log_->wait_until(std::min(time, Clock::now() + kPatience), ended)) return true;
    }
  }

  void send(EngineRequest request, Clock::time_point due, bool is_warm_up) {
    const auto input_tokens = static_cast<int>(request.prompt.size());
    request.listener = std::make_shared<TimingListener>(log_, due, is_warm_up, input_tokens);
    const auto sent = sink_.send(std::move(request));
    if (sent) return;
    log_->add({.input_tokens = input_tokens, .error = sent.error().to_string()}, is_warm_up);
  }

  const Traffic& traffic_;
  RequestSink& sink_;
  const ReplayOptions& options_;
  std::shared_ptr<ReplayLog> log_ = std::make_shared<ReplayLog>();
  bool is_interrupted_ = false;
};

}  // namespace

Result<void> EngineSink::send(EngineRequest request) {
  FIB_TRY(engine_.submit(std::move(request)));
  return {};
}

ReplayReport replay(const Traffic& traffic, RequestSink& sink, const ReplayOptions& options) {
  return Replay(traffic, sink, options).run();
}

}  // namespace fib
