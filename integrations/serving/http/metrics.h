#pragma once

// What /metrics tells, in Prometheus' text format.

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/engine/engine.h"

namespace fib {

// Counts of observations at or below each of some fixed bounds.
class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds);
  void observe(double value);
  // The lines of one metric: _bucket, _sum and _count.
  std::string render(std::string_view name, std::string_view help) const;

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;  // one more than bounds: above the last
  double sum_ = 0.0;
};

// Where the device's time goes: what calls of one signature, served by one solution, took since the
// start.
struct SignatureTime {
  std::string signature, solution;
  uint64_t calls = 0;
  double host_s = 0.0;         // cpu: the calls themselves; cuda: enqueuing them
  uint64_t sampled_calls = 0;  // of these calls
  double device_s = 0.0;       // of the sampled ones, by the device's clock
};
using SignatureTimes = std::function<std::vector<SignatureTime>()>;

// As the value of a label is written.
std::string metric_label(std::string_view text);

// One sequence's times as its listener met them, in seconds.
struct SequenceTimes {
  double queue_s = 0.0;  // 0: it never left the queue
  double total_s = 0.0;
};

class Metrics {
 public:
  Metrics();

  // From any thread.
  void first_token(double since_submit_s);
  void next_token(double since_token_before_s);
  void sequence_ended(std::string_view outcome, SequenceTimes times);
  void response_sent(int status);
  void connections_changed(int by);

  std::string render(const EngineStats& engine,
                     std::span<const SignatureTime> signature_times) const;

 private:
  mutable std::mutex mutex_;
  Histogram first_token_, between_tokens_, total_, queue_;
  std::map<std::string, uint64_t, std::less<>> outcomes_;
  std::map<int, uint64_t> responses_;
  int connections_ = 0;
};

}  // namespace fib
