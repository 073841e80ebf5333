#include "integrations/serving/traffic/replay_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fib {
namespace {

constexpr double kGoodShareOfGaps = 0.99;

// The smallest sample that `share` of all samples don't exceed.
double percentile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

bool is_good(const MeasuredRequest& request, const ServiceLevel& level) {
  if (request.ttft_s > level.ttft_s) return false;
  if (request.gaps_s.empty()) return true;
  std::vector<double> gaps = request.gaps_s;
  std::sort(gaps.begin(), gaps.end());
  return percentile(gaps, kGoodShareOfGaps) <= level.tbt_s;
}

Json summary_to_json(const Summary& summary) {
  return {{"count", summary.count},
          {"mean", summary.mean},
          {"p50", summary.p50},
          {"p99", summary.p99},
          {"max", summary.max}};
}

Json experts_to_json(const ExpertTraffic& experts) {
  Json json = {{"calls", experts.calls}, {"tokens", experts.tokens}};
  if (experts.is_exact()) {
    json["bytes"] = experts.least_bytes;
  } else {
    json["least_bytes"] = experts.least_bytes;
    json["most_bytes"] = experts.most_bytes;
  }
  return json;
}

std::string summary_row(std::string_view name, const Summary& summary) {
  return fmt::format("{:<12} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f}\n", name, 1e3 * summary.mean,
                     1e3 * summary.p50, 1e3 * summary.p99, 1e3 * summary.max);
}

std::string experts_row(const ExpertTraffic& experts, size_t requests) {
  const double unit = 1e9;
  const double count = std::max(1.0, static_cast<double>(requests));
  if (experts.is_exact()) {
    return fmt::format("experts      {:.3f} GB read, {:.4f} GB a request\n",
                       experts.least_bytes / unit, experts.least_bytes / unit / count);
  }
  return fmt::format("experts      {:.3f} to {:.3f} GB read (the card's choices aren't seen)\n",
                     experts.least_bytes / unit, experts.most_bytes / unit);
}

}  // namespace

Summary summarise(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  return {.count = samples.size(),
          .mean = std::accumulate(samples.begin(), samples.end(), 0.0) /
                  static_cast<double>(samples.size()),
          .p50 = percentile(samples, 0.50),
          .p99 = percentile(samples, 0.99),
          .max = samples.back()};
}

ReplayReport make_report(const std::vector<MeasuredRequest>& requests, const ServiceLevel& level,
                         double duration_s) {
  ReplayReport report{.duration_s = duration_s, .level = level};
  std::vector<double> end_to_end, queue;
  for (const MeasuredRequest& request : requests) {
    if (request.error) {
      ++report.failed;
      ++report.errors[*request.error];
      continue;
    }
    ++report.finished;
    report.good += is_good(request, level) ? 1 : 0;
    report.input_tokens += static_cast<uint64_t>(request.input_tokens);
    report.cached_tokens += static_cast<uint64_t>(request.cached_tokens);
    report.output_tokens += static_cast<uint64_t>(request.output_tokens);
    report.ttft_samples_s.push_back(request.ttft_s);
    report.tbt_samples_s.insert(report.tbt_samples_s.end(), request.gaps_s.begin(),
                                request.gaps_s.end());
    end_to_end.push_back(request.end_to_end_s);
    if (request.queue_s) queue.push_back(*request.queue_s);
  }
  std::sort(report.ttft_samples_s.begin(), report.ttft_samples_s.end());
  std::sort(report.tbt_samples_s.begin(), report.tbt_samples_s.end());
  report.ttft_s = summarise(report.ttft_samples_s);
  report.tbt_s = summarise(report.tbt_samples_s);
  report.end_to_end_s = summarise(std::move(end_to_end));
  if (!queue.empty()) report.queue_s = summarise(std::move(queue));
  return report;
}

Json report_to_json(const ReplayReport& report) {
  Json json = {{"requests",
                {{"warm_up", report.warm_up},
                 {"finished", report.finished},
                 {"failed", report.failed},
                 {"unfinished", report.unfinished}}},
               {"errors", Json::object()},
               {"duration_s", report.duration_s},
               {"ttft_s", summary_to_json(report.ttft_s)},
               {"tbt_s", summary_to_json(report.tbt_s)},
               {"end_to_end_s", summary_to_json(report.end_to_end_s)},
               {"queue_s", report.queue_s ? summary_to_json(*report.queue_s) : Json()},
               {"goodput",
                {{"slo_ttft_s", report.level.ttft_s},
                 {"slo_tbt_s", report.level.tbt_s},
                 {"requests", report.good},
                 {"requests_per_s", report.goodput_per_s()}}},
               {"requests_per_s", report.requests_per_s()},
               {"input_tokens", report.input_tokens},
               {"cached_tokens", report.cached_tokens},
               {"output_tokens", report.output_tokens},
               {"input_tokens_per_s", report.input_tokens_per_s()},
               {"output_tokens_per_s", report.output_tokens_per_s()},
               {"cached_share", report.cached_share()},
               {"engine", Json()}};
  for (const auto& [message, count] : report.errors) json["errors"][message] = count;
  if (const auto& engine = report.engine) {
    json["engine"] = {
        {"steps", engine->stats.steps},
        {"prefill_tokens", engine->stats.prefill_tokens},
        {"preemptions", engine->stats.preemptions},
        {"step_host_ns", engine->stats.step_host_ns},
        {"step_run_ns", engine->stats.step_run_ns},
        {"executor_host_ns",
         engine->stats.executor_host_ns ? Json(*engine->stats.executor_host_ns) : Json()},
        {"experts", experts_to_json(engine->experts)}};
  }
  return json;
}

std::string report_to_text(const ReplayReport& report) {
  std::string text = fmt::format(
      "{} requests in {:.1f} s ({} warm-up before, {} failed, {} unfinished)\n\n"
      "{:<12} {:>10} {:>10} {:>10} {:>10}\n",
      report.finished, report.duration_s, report.warm_up, report.failed, report.unfinished, "ms",
      "mean", "P50", "P99", "max");
  text += summary_row("TTFT", report.ttft_s);
  text += summary_row("TBT", report.tbt_s);
  text += summary_row("end to end", report.end_to_end_s);
  if (report.queue_s) text += summary_row("queue", *report.queue_s);
  text += fmt::format(
      "\nthroughput   {:.2f} requests/s, {:.0f} tokens/s in, {:.0f} tokens/s out\n"
      "goodput      {:.2f} requests/s ({} of {} with TTFT <= {:g} ms and P99 TBT <= {:g} ms)\n"
      "cache        {:.1f} % of the prompts' tokens\n",
      report.requests_per_s(), report.input_tokens_per_s(), report.output_tokens_per_s(),
      report.goodput_per_s(), report.good, report.finished, 1e3 * report.level.ttft_s,
      1e3 * report.level.tbt_s, 100.0 * report.cached_share());
  if (const auto& engine = report.engine) {
    const double steps = std::max(1.0, static_cast<double>(engine->stats.steps));
    text += fmt::format("steps        {} of {:.2f} ms, {:.3f} ms of it {}; {} preemptions\n",
                        engine->stats.steps,
                        (engine->stats.step_host_ns + engine->stats.step_run_ns) / 1e6 / steps,
                        engine->stats.host_ns() / 1e6 / steps,
                        engine->stats.executor_host_ns ? "the host's" : "the engine's own",
                        engine->stats.preemptions);
    if (engine->experts.calls > 0) text += experts_row(engine->experts, report.finished);
  }
  for (const auto& [message, count] : report.errors) {
    text += fmt::format("failed       {} x {}\n", count, message);
  }
  return text;
}

}  // namespace fib
