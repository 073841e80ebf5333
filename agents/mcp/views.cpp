#include "agents/mcp/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "agents/mcp/schema.h"
#include "harness/verdict_json.h"

namespace fib::mcp {

namespace {

constexpr size_t kMostRows = 50;
constexpr size_t kMostTextRows = 12;
constexpr size_t kMostKernels = 16;
constexpr size_t kMostErrors = 10;
constexpr TextLimit kMessageLimit{.lines = 8, .bytes = 800};

const Json kString{{"type", "string"}};
const Json kNumber{{"type", "number"}};
const Json kInteger{{"type", "integer"}};
const Json kBoolean{{"type", "boolean"}};
const Json kObject{{"type", "object"}};

// Finite, or what JSON has no spelling for as a string.
Json open_number() { return {{"type", Json::array({"number", "string"})}}; }

double median_ns(const Verdict& verdict) {
  const ModeSummary* cold = verdict.timing(TimingMode::kCold);
  return cold == nullptr ? 0.0 : cold->latency_ns.median;
}

// The output that is most in need of attention.
const OutputVerdict* worst_output(const Verdict& verdict) {
  const auto rank = [](const OutputVerdict& output) {
    return std::pair(!output.passed, output.honest_ratio);
  };
  const auto worst = std::ranges::max_element(verdict.outputs, {}, rank);
  return worst == verdict.outputs.end() ? nullptr : &*worst;
}

Json pair_to_json(const Verdict& verdict) {
  Json pair{{"incumbent", verdict.incumbent},
            {"result", paired_result_name(verdict.paired)},
            {"is_confirmed", verdict.is_confirmed},
            {"note", verdict.paired_note}};
  if (verdict.speedup) {
    pair.update({{"speedup", *verdict.speedup},
                 {"speedup_low", verdict.speedup_low.value_or(0.0)},
                 {"speedup_high", verdict.speedup_high.value_or(0.0)}});
  }
  return pair;
}

Json output_to_json(const OutputVerdict& output) {
  return {{"name", output.name},
          {"passed", output.passed},
          {"error_over_honest", number_to_json(output.honest_ratio)},
          {"relative_rms_error", number_to_json(output.stats.relative_rms_error())},
          {"max_absolute_error", number_to_json(output.stats.max_absolute_error)},
          {"max_error_of_row_scale", number_to_json(output.stats.max_normalised_error)},
          {"elements", output.stats.count},
          {"elements_over_bound", output.stats.elements_over_bound},
          {"nonfinite_mismatches", output.stats.nonfinite_mismatches},
          {"first_bad_index", output.stats.first_bad_index},
          {"error_histogram", output.stats.histogram}};
}

Json timing_to_json(const ModeSummary& timing) {
  return {{"mode", timing_mode_name(timing.mode)},
          {"median_ns", timing.latency_ns.median},
          {"low_ns", timing.latency_ns.low},
          {"high_ns", timing.latency_ns.high},
          {"samples", timing.samples},
          {"throttled", timing.throttled}};
}

Json kernel_to_json(const KernelShare& kernel) {
  return {{"name", shortened(kernel.name, {.lines = 1, .bytes = 300})},
          {"share", kernel.share},
          {"registers", kernel.registers},
          {"shared_bytes", kernel.shared_bytes},
          {"grid", {kernel.grid[0], kernel.grid[1], kernel.grid[2]}},
          {"block", {kernel.block[0], kernel.block[1], kernel.block[2]}}};
}

std::string status_in_words(const Verdict& verdict) {
  const std::string status(trace_status_name(verdict.status));
  return verdict.reason.empty() ? status : fmt::format("{} ({})", status, verdict.reason);
}

int64_t count_passed(const EvaluationReport& report) {
  return std::ranges::count(report.verdicts, VerdictStatus::kPassed, &Verdict::status);
}

std::vector<const Verdict*> failures_first(const EvaluationReport& report) {
  std::vector<const Verdict*> order;
  for (const Verdict& verdict : report.verdicts) order.push_back(&verdict);
  std::ranges::stable_partition(
      order, [](const Verdict* verdict) { return verdict->status != VerdictStatus::kPassed; });
  return order;
}

std::map<std::string, PairedSummary> summaries_of(const EvaluationReport& report) {
  std::map<std::string, std::vector<PairedRecord>> groups;
  for (const PairedRecord& pair : report.pairs) groups[pair.signature].push_back(pair);
  std::map<std::string, PairedSummary> summaries;
  for (const auto& [signature, group] : groups) summaries[signature] = summarise_pairs(group);
  return summaries;
}

}  // namespace

Json verdict_row(const Verdict& verdict) {
  Json row{{"id", verdict.id},
           {"signature", verdict.signature},
           {"axes", verdict.axes},
           {"status", trace_status_name(verdict.status)},
           {"reason", verdict.reason}};
  if (!verdict.message.empty()) row["message"] = shortened(verdict.message, kMessageLimit);
  if (const double median = median_ns(verdict); median > 0.0) row["cold_median_ns"] = median;
  if (verdict.roofline.fraction > 0.0) row["roofline_fraction"] = verdict.roofline.fraction;
  if (const OutputVerdict* worst = worst_output(verdict)) {
    row["error_over_honest"] = number_to_json(worst->honest_ratio);
  }
  if (!verdict.incumbent.empty()) row["pair"] = pair_to_json(verdict);
  return row;
}

Json verdict_row_schema() {
  return {{"type", "object"},
          {"properties",
           {{"id", kInteger},
            {"signature", kString},
            {"axes", kObject},
            {"status", string_schema("PASSED, INCORRECT_NUMERICAL, COMPILE_ERROR, TIMEOUT, ...")},
            {"reason", kString},
            {"message", kString},
            {"cold_median_ns", kNumber},
            {"roofline_fraction", kNumber},
            {"error_over_honest", open_number()},
            {"pair", kObject}}},
          {"required", {"id", "signature", "axes", "status", "reason"}}};
}

std::string verdict_line(const Verdict& verdict) {
  std::string line = fmt::format("verdict {}: {} {} {}", verdict.id, verdict.signature,
                                 verdict.axes.dump(), status_in_words(verdict));
  if (const double median = median_ns(verdict); median > 0.0) {
    line += ", " + time_in_words(median);
  }
  if (verdict.roofline.fraction > 0.0) {
    line += fmt::format(", {:.0f} % of the roofline", 100.0 * verdict.roofline.fraction);
  }
  if (verdict.speedup) {
    line += fmt::format(", {:.3f}x against {} ({})", *verdict.speedup, verdict.incumbent,
                        paired_result_name(verdict.paired));
  }
  if (!verdict.message.empty()) {
    line += "\n  " + shortened(verdict.message, {.lines = 3, .bytes = 400});
  }
  return line;
}

Json verdict_explanation(const Verdict& verdict) {
  Json document = verdict_row(verdict);
  document["solution"] = verdict.solution;
  document["solution_key"] = verdict.solution_key;
  document["device"] = verdict.device.name;
  document["architecture"] = verdict.device.architecture;
  Json outputs = Json::array();
  for (const OutputVerdict& output : verdict.outputs) outputs.push_back(output_to_json(output));
  document["outputs"] = std::move(outputs);
  const OutputVerdict* worst = worst_output(verdict);
  document["worst_output"] = worst == nullptr ? "" : worst->name;
  Json timings = Json::array();
  for (const ModeSummary& timing : verdict.timings) timings.push_back(timing_to_json(timing));
  document["timings"] = std::move(timings);
  document["roofline"] = {{"bytes", verdict.roofline.bytes},
                          {"operations", verdict.roofline.flops},
                          {"floor_ns", verdict.roofline.floor_ns},
                          {"bound", verdict.roofline.bound},
                          {"fraction", verdict.roofline.fraction}};
  Json kernels = Json::array();
  for (const KernelShare& kernel : verdict.kernels) {
    if (kernels.size() < kMostKernels) kernels.push_back(kernel_to_json(kernel));
  }
  document["kernels"] = std::move(kernels);
  document["workspace_bytes"] = verdict.workspace_bytes;
  document["prepare_ns"] = verdict.prepare_ns;
  document["build_ms"] = verdict.build_ms;
  document["log"] = shortened(verdict.log, {});
  document["timestamp"] = verdict.timestamp;
  return document;
}

Json verdict_explanation_schema() {
  Json schema = verdict_row_schema();
  schema["properties"].update({{"solution", kString},
                               {"solution_key", kString},
                               {"device", kString},
                               {"architecture", kString},
                               {"outputs", list_schema(kObject)},
                               {"worst_output", kString},
                               {"timings", list_schema(kObject)},
                               {"roofline", kObject},
                               {"kernels", list_schema(kObject)},
                               {"workspace_bytes", kInteger},
                               {"prepare_ns", kNumber},
                               {"build_ms", kNumber},
                               {"log", kString},
                               {"timestamp", kString}});
  for (const char* name : {"solution", "outputs", "worst_output", "timings", "roofline", "log"}) {
    schema["required"].push_back(name);
  }
  return schema;
}

std::string verdict_page(const Verdict& verdict) {
  std::string text =
      fmt::format("{} on {}\n{}\n", verdict.solution, verdict.device.name, verdict_line(verdict));
  if (const OutputVerdict* worst = worst_output(verdict)) {
    text += fmt::format("worst output '{}': error {:.3g}x an honest implementation's", worst->name,
                        worst->honest_ratio);
    if (worst->stats.first_bad_index >= 0) {
      text += fmt::format(
          "; {} of {} elements over the bound, {} NaN or Inf mismatches, the first "
          "at row-major index {}",
          worst->stats.elements_over_bound, worst->stats.count, worst->stats.nonfinite_mismatches,
          worst->stats.first_bad_index);
    }
    text += "\n";
  }
  for (const ModeSummary& timing : verdict.timings) {
    text +=
        fmt::format("{}: {} ({} to {})\n", timing_mode_name(timing.mode),
                    time_in_words(timing.latency_ns.median), time_in_words(timing.latency_ns.low),
                    time_in_words(timing.latency_ns.high));
  }
  if (verdict.roofline.floor_ns > 0.0) {
    text += fmt::format("roofline: at least {}, {} bound\n",
                        time_in_words(verdict.roofline.floor_ns), verdict.roofline.bound);
  }
  if (!verdict.log.empty()) text += shortened(verdict.log, {.lines = 30, .bytes = 3000});
  return text;
}

Json evaluation_to_json(const EvaluationReport& report) {
  const std::vector<const Verdict*> order = failures_first(report);
  Json rows = Json::array();
  for (const Verdict* verdict : order) {
    if (rows.size() < kMostRows) rows.push_back(verdict_row(*verdict));
  }
  Json pairs = Json::array();
  for (const auto& [signature, summary] : summaries_of(report)) {
    pairs.push_back({{"signature", signature},
                     {"incumbent", report.pairs.front().incumbent},
                     {"speedup", summary.speedup},
                     {"speedup_low", summary.speedup_low},
                     {"speedup_high", summary.speedup_high},
                     {"workloads", summary.workloads},
                     {"faster", summary.faster},
                     {"confirmed", summary.confirmed},
                     {"slower", summary.slower},
                     {"same", summary.same},
                     {"ambiguous", summary.ambiguous}});
  }
  Json errors = Json::array();
  for (const Error& error : report.errors) {
    if (errors.size() < kMostErrors) errors.push_back(error.to_string());
  }
  return {{"total", report.verdicts.size()},
          {"passed", count_passed(report)},
          {"is_interrupted", report.is_interrupted},
          {"verdicts", rows},
          {"omitted", report.verdicts.size() - rows.size()},
          {"pairs", pairs},
          {"errors", errors}};
}

Json evaluation_schema() {
  return {{"type", "object"},
          {"properties",
           {{"total", kInteger},
            {"passed", kInteger},
            {"is_interrupted", kBoolean},
            {"verdicts", list_schema(verdict_row_schema())},
            {"omitted", kInteger},
            {"pairs", list_schema(kObject)},
            {"errors", list_schema(kString)}}},
          {"required",
           {"total", "passed", "is_interrupted", "verdicts", "omitted", "pairs", "errors"}}};
}

std::string evaluation_in_words(const EvaluationReport& report) {
  std::string text = fmt::format("{} of {} passed\n", count_passed(report), report.verdicts.size());
  for (const auto& [signature, summary] : summaries_of(report)) {
    text += fmt::format("{} against {}: {:.3f}x ({:.3f} to {:.3f}) over {} workloads\n", signature,
                        report.pairs.front().incumbent, summary.speedup, summary.speedup_low,
                        summary.speedup_high, summary.workloads);
  }
  const std::vector<const Verdict*> order = failures_first(report);
  for (size_t i = 0; i < order.size() && i < kMostTextRows; ++i) {
    text += verdict_line(*order[i]) + "\n";
  }
  if (order.size() > kMostTextRows) {
    text += fmt::format("... {} more verdicts\n", order.size() - kMostTextRows);
  }
  for (size_t i = 0; i < report.errors.size() && i < kMostErrors; ++i) {
    text += "error: " + report.errors[i].to_string() + "\n";
  }
  if (report.is_interrupted) text += "interrupted; the same call goes on from here\n";
  return text;
}

}  // namespace fib::mcp
