#include "agents/mcp/feedback_views.h"

#include <fmt/format.h>

#include <algorithm>

#include "agents/feedback/feedback.h"
#include "agents/mcp/schema.h"
#include "agents/mcp/views.h"
#include "harness/verdict_json.h"

namespace fib::mcp {

namespace {

constexpr size_t kMostKernels = 16;
constexpr size_t kMostVerdicts = 50;
constexpr size_t kMostNotes = 10;
constexpr size_t kMostVerdictBytes = 6'000;
constexpr size_t kMostProfileBytes = 12'000;
constexpr TextLimit kNoteLimit{.lines = 4, .bytes = 600};

const Json kString{{"type", "string"}};
const Json kNumber{{"type", "number"}};
const Json kInteger{{"type", "integer"}};
const Json kBoolean{{"type", "boolean"}};
const Json kObject{{"type", "object"}};

// Not the largest errors: of zeros they are the largest of the expected values.
Json output_to_json(const OutputVerdict& output) {
  return {{"name", output.name},
          {"passed", output.passed},
          {"error_over_honest", number_to_json(output.honest_ratio)},
          {"relative_rms_error", number_to_json(output.stats.relative_rms_error())},
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

// What a compiler said, or what was printed before the end. What a solution printed that ran to its
// end could be what it was given.
bool has_log_to_show(const Verdict& verdict) {
  return verdict.status == VerdictStatus::kCompileError ||
         verdict.status == VerdictStatus::kRuntimeError ||
         verdict.status == VerdictStatus::kTimeout;
}

std::string words_of(const Verdict& verdict, const Solution& solution) {
  return agents::feedback_in_words(
      agents::make_feedback(agents::source_of_verdict(solution, verdict)), kMostVerdictBytes);
}

Json notes_to_json(const std::vector<std::string>& notes) {
  Json json = Json::array();
  for (const std::string& note : notes) {
    if (json.size() < kMostNotes) json.push_back(shortened(note, kNoteLimit));
  }
  return json;
}

std::vector<std::string> errors_of(const ProfileReport& report) {
  std::vector<std::string> errors;
  for (const Error& error : report.errors) errors.push_back(error.to_string());
  return errors;
}

}  // namespace

Json verdict_explanation(const Verdict& verdict, const Solution& solution) {
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
  document["log"] = has_log_to_show(verdict) ? shortened(verdict.log, {}) : "";
  document["feedback"] = words_of(verdict, solution);
  document["timestamp"] = verdict.timestamp;
  return document;
}

Json verdict_explanation_schema() {
  Json schema = verdict_row_schema();
  schema["properties"].update(
      {{"solution", kString},
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
       {"feedback", string_schema("The same in words, and what to improve")},
       {"timestamp", kString}});
  for (const char* name :
       {"solution", "outputs", "worst_output", "timings", "roofline", "log", "feedback"}) {
    schema["required"].push_back(name);
  }
  return schema;
}

std::string verdict_page(const Verdict& verdict, const Solution& solution) {
  std::string text = fmt::format("{} on {}\n{}\n", verdict.solution, verdict.device.name,
                                 verdict_headline(verdict));
  for (const ModeSummary& timing : verdict.timings) {
    text +=
        fmt::format("{}: {} ({} to {})\n", timing_mode_name(timing.mode),
                    time_in_words(timing.latency_ns.median), time_in_words(timing.latency_ns.low),
                    time_in_words(timing.latency_ns.high));
  }
  return text + "\n" + words_of(verdict, solution);
}

Json profile_to_json(const ProfileReport& report) {
  Json document = report.feedback;
  document["counters"] = {{"reason", shortened(report.counters_reason, kNoteLimit)},
                          {"missing", notes_to_json(report.counters_missing)}};
  Json verdicts = Json::array();
  for (const int64_t id : report.verdicts) {
    if (verdicts.size() < kMostVerdicts) verdicts.push_back(id);
  }
  document["verdicts"] = std::move(verdicts);
  document["errors"] = notes_to_json(errors_of(report));
  document["is_interrupted"] = report.is_interrupted;
  return document;
}

Json profile_schema() {
  Json schema{{"type", "object"},
              {"properties",
               {{"version", kInteger},
                {"solution", kString},
                {"target", kString},
                {"outcome", kString},
                {"workloads", kObject},
                {"counters",
                 {{"type", "object"},
                  {"properties",
                   {{"reason", string_schema("Why they weren't read; empty: they were")},
                    {"missing", list_schema(kString)}}},
                  {"required", {"reason", "missing"}}}},
                {"verdicts", list_schema(kInteger)},
                {"errors", list_schema(kString)},
                {"is_interrupted", kBoolean}}},
              {"required", Json::array()}};
  for (const char* part :
       {"compile", "failures", "accuracy", "time", "kernels", "resources", "parent"}) {
    schema["properties"][part] = kObject;
  }
  for (const char* name : {"version", "solution", "outcome", "workloads", "counters", "verdicts",
                           "errors", "is_interrupted"}) {
    schema["required"].push_back(name);
  }
  return schema;
}

std::string profile_in_words(const ProfileReport& report) {
  std::string text = agents::feedback_in_words(report.feedback, kMostProfileBytes);
  if (!report.counters_reason.empty()) {
    text += fmt::format("counters: not read: {}\n", shortened(report.counters_reason, kNoteLimit));
  }
  const auto add = [&text](const char* what, const std::vector<std::string>& notes) {
    for (size_t i = 0; i < std::min(notes.size(), kMostNotes); ++i) {
      text += fmt::format("{}: {}\n", what, shortened(notes[i], kNoteLimit));
    }
  };
  add("counters", report.counters_missing);
  add("error", errors_of(report));
  if (report.is_interrupted) text += "interrupted; the same call goes on from here\n";
  return text;
}

}  // namespace fib::mcp
