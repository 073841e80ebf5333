#include "integrations/serving/http/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace fib {
namespace {

// Seconds. From what a small model needs on a warm cache to what nobody waits for.
constexpr double kWaitBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,   0.25, 0.5,
                                  1.0,   2.5,    5.0,   10.0, 25.0,  50.0, 100.0, 250.0};
constexpr double kTokenBounds[] = {0.0005, 0.001, 0.002, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03,
                                   0.05,   0.075, 0.1,   0.2,   0.5,    1.0,  2.0,   5.0};

std::string header(std::string_view name, std::string_view type, std::string_view help) {
  return fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class T>
std::string single(std::string_view name, std::string_view type, std::string_view help, T value) {
  return header(name, type, help) + fmt::format("{} {}\n", name, value);
}

std::string engine_lines(const EngineStats& engine) {
  const auto counter = [](std::string_view name, std::string_view help, auto value) {
    return single(name, "counter", help, value);
  };
  const auto gauge = [](std::string_view name, std::string_view help, auto value) {
    return single(name, "gauge", help, value);
  };
  constexpr double kNsPerSecond = 1e9;
  const double kv_use =
      engine.pages_total > 0 ? static_cast<double>(engine.pages_used) / engine.pages_total : 0.0;
  return gauge("fib_requests_running", "Sequences in the batch now.", engine.running) +
         gauge("fib_requests_waiting", "Sequences in the queue now.", engine.waiting) +
         gauge("fib_kv_pages_used", "Pages of the KV cache in use now.", engine.pages_used) +
         gauge("fib_kv_pages_total", "Pages of the KV cache.", engine.pages_total) +
         gauge("fib_kv_use_ratio", "Share of the KV cache's pages in use now.", kv_use) +
         counter("fib_prompt_tokens_total", "Prompt tokens of admitted sequences.",
                 engine.prompt_tokens) +
         counter("fib_prefix_cache_hit_tokens_total",
                 "Prompt tokens of these that the prefix cache had.", engine.cached_tokens) +
         counter("fib_generated_tokens_total", "Tokens generated.", engine.generated_tokens) +
         counter("fib_preemptions_total", "Sequences put back into the queue for want of memory.",
                 engine.preemptions) +
         counter("fib_engine_steps_total", "Steps of the engine.", engine.steps) +
         counter("fib_engine_step_host_seconds_total", "Time of the steps outside the model.",
                 engine.step_host_ns / kNsPerSecond) +
         counter("fib_engine_step_run_seconds_total", "Time of the steps inside the model.",
                 engine.step_run_ns / kNsPerSecond) +
         (engine.executor_host_ns
              ? counter("fib_engine_step_executor_host_seconds_total",
                        "Time of the steps inside the model without waiting for the card.",
                        *engine.executor_host_ns / kNsPerSecond)
              : std::string());
}

std::string signature_lines(std::span<const SignatureTime> times) {
  if (times.empty()) return {};
  const auto counter = [&](std::string_view name, std::string_view help, auto member) {
    std::string text = header(name, "counter", help);
    for (const SignatureTime& time : times) {
      text += fmt::format("{}{{signature=\"{}\",solution=\"{}\"}} {}\n", name,
                          metric_label(time.signature), metric_label(time.solution), time.*member);
    }
    return text;
  };
  return counter("fib_signature_calls_total", "Calls of each signature.", &SignatureTime::calls) +
         counter("fib_signature_seconds_total",
                 "Time of the host in these calls; on a card that of enqueuing them.",
                 &SignatureTime::host_s) +
         counter("fib_signature_sampled_calls_total", "Of these calls, those timed on the device.",
                 &SignatureTime::sampled_calls) +
         counter("fib_signature_device_seconds_total", "Time of the device in the sampled calls.",
                 &SignatureTime::device_s);
}

}  // namespace

std::string metric_label(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\' || c == '"') escaped += '\\';
    if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

void Histogram::observe(double value) {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  ++counts_[static_cast<size_t>(bound - bounds_.begin())];
  sum_ += value;
}

std::string Histogram::render(std::string_view name, std::string_view help) const {
  std::string text = header(name, "histogram", help);
  uint64_t count = 0;
  for (size_t i = 0; i < bounds_.size(); ++i) {
    count += counts_[i];
    text += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, bounds_[i], count);
  }
  count += counts_.back();
  return text + fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name, count,
                            name, sum_, name, count);
}

Metrics::Metrics()
    : first_token_(kWaitBounds),
      between_tokens_(kTokenBounds),
      total_(kWaitBounds),
      queue_(kWaitBounds) {}

void Metrics::first_token(double since_submit_s) {
  const std::lock_guard lock(mutex_);
  first_token_.observe(since_submit_s);
}

void Metrics::next_token(double since_token_before_s) {
  const std::lock_guard lock(mutex_);
  between_tokens_.observe(since_token_before_s);
}

void Metrics::sequence_ended(std::string_view outcome, SequenceTimes times) {
  const std::lock_guard lock(mutex_);
  ++outcomes_[std::string(outcome)];
  total_.observe(times.total_s);
  if (times.queue_s > 0.0) queue_.observe(times.queue_s);
}

void Metrics::response_sent(int status) {
  const std::lock_guard lock(mutex_);
  ++responses_[status];
}

void Metrics::connections_changed(int by) {
  const std::lock_guard lock(mutex_);
  connections_ += by;
}

std::string Metrics::render(const EngineStats& engine,
                            std::span<const SignatureTime> signature_times) const {
  const std::lock_guard lock(mutex_);
  std::string text =
      first_token_.render("fib_time_to_first_token_seconds",
                          "From submission to the first token.") +
      between_tokens_.render("fib_time_between_tokens_seconds", "From one token to the next.") +
      total_.render("fib_request_seconds", "From submission to the end of a sequence.") +
      queue_.render("fib_queue_seconds", "From submission to a sequence's first step.");
  text += header("fib_requests_total", "counter", "Sequences that have ended, by how they did.");
  for (const auto& [outcome, count] : outcomes_)
    text += fmt::format("fib_requests_total{{outcome=\"{}\"}} {}\n", metric_label(outcome), count);
  text += header("fib_http_responses_total", "counter", "Answers, by HTTP status.");
  for (const auto& [status, count] : responses_)
    text += fmt::format("fib_http_responses_total{{code=\"{}\"}} {}\n", status, count);
  text += single("fib_http_connections", "gauge", "Open connections.", connections_);
  return text + engine_lines(engine) + signature_lines(signature_times);
}

}  // namespace fib
