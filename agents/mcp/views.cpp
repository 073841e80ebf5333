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

const OutputVerdict* worst_output(const Verdict& verdict) {
  const auto rank = [](const OutputVerdict& output) {
    return std::pair(!output.passed, output.honest_ratio);
  };
  const auto worst = std::ranges::max_element(verdict.outputs, {}, rank);
  return worst == verdict.outputs.end() ? nullptr : &*worst;
}

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

std::string verdict_headline(const Verdict& verdict) {
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
  return line;
}

std::string verdict_line(const Verdict& verdict) {
  if (verdict.message.empty()) return verdict_headline(verdict);
  return fmt::format("{}\n  {}", verdict_headline(verdict),
                     shortened(verdict.message, {.lines = 3, .bytes = 400}));
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
