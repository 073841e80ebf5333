#pragma once

// What a replay measured: its figures, as JSON, as text and as a plot.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/engine/engine.h"
#include "integrations/serving/traffic/expert_bytes.h"
#include "signatures/base/json.h"

namespace fib {

struct Summary {
  size_t count = 0;
  double mean = 0.0, p50 = 0.0, p99 = 0.0, max = 0.0;  // percentiles by nearest rank
};
Summary summarise(std::vector<double> samples);

// A request is good if its first token came within ttft_s and 99 % of the gaps between its tokens
// stayed within tbt_s.
struct ServiceLevel {
  double ttft_s = 1.0;
  double tbt_s = 0.1;
};

struct EngineCounters {  // of the engine, between the first measured request and the end
  EngineStats stats;
  ExpertTraffic experts;
};

// One request, as its sender saw it. Times are counted from its arrival in the trace, so that a
// sender who falls behind doesn't make the server look faster.
struct MeasuredRequest {
  int input_tokens = 0;
  int output_tokens = 0;
  int cached_tokens = 0;
  double ttft_s = 0.0, end_to_end_s = 0.0;
  std::optional<double> queue_s;  // an endpoint doesn't say
  std::vector<double> gaps_s;     // between its tokens
  std::optional<std::string> error;
};

struct ReplayReport {
  size_t warm_up = 0;  // requests that no figure counts
  size_t finished = 0, failed = 0, unfinished = 0;
  std::map<std::string, size_t> errors;  // message -> requests
  double duration_s = 0.0;               // from the first measured arrival to the last end
  Summary ttft_s, tbt_s, end_to_end_s;   // of finished requests; tbt: of all their gaps
  std::optional<Summary> queue_s;
  ServiceLevel level;
  size_t good = 0;
  uint64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::optional<EngineCounters> engine;
  std::vector<double> ttft_samples_s, tbt_samples_s;  // sorted, for the plot

  double goodput_per_s() const { return per_s(static_cast<double>(good)); }
  double requests_per_s() const { return per_s(static_cast<double>(finished)); }
  double input_tokens_per_s() const { return per_s(static_cast<double>(input_tokens)); }
  double output_tokens_per_s() const { return per_s(static_cast<double>(output_tokens)); }
  double cached_share() const {
    return input_tokens == 0
               ? 0.0
               : static_cast<double>(cached_tokens) / static_cast<double>(input_tokens);
  }

 private:
  double per_s(double count) const { return duration_s > 0.0 ? count / duration_s : 0.0; }
};

ReplayReport make_report(const std::vector<MeasuredRequest>& requests, const ServiceLevel& level,
                         double duration_s);

Json report_to_json(const ReplayReport& report);
std::string report_to_text(const ReplayReport& report);

// An SVG with the cumulative distributions of TTFT and TBT, and the service level as a line.
std::string plot_report(const ReplayReport& report, std::string_view title);

}  // namespace fib
