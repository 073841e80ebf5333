// Trace documents: docs/formats.md, "Trace".

#include <fmt/format.h>

#include <cmath>

#include "signatures/document.h"
#include "signatures/trace.h"

namespace fib {
namespace {

// The rules of which status goes with which results are the ecosystem's and hold for every file.
Result<void> check_presence(const Evaluation& evaluation, const JsonView& view) {
  const bool needs_correctness = evaluation.status == TraceStatus::kPassed ||
                                 evaluation.status == TraceStatus::kIncorrectNumerical;
  const bool needs_performance = evaluation.status == TraceStatus::kPassed;
  const std::string_view status = trace_status_name(evaluation.status);
  if (needs_correctness != evaluation.correctness.has_value()) {
    return view.error(fmt::format("{} {} 'correctness'", status,
                                  needs_correctness ? "needs" : "doesn't go with"));
  }
  if (needs_performance != evaluation.performance.has_value()) {
    return view.error(fmt::format("{} {} 'performance'", status,
                                  needs_performance ? "needs" : "doesn't go with"));
  }
  return {};
}

Result<Correctness> read_correctness(const JsonView& view, Strictness strictness) {
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(view.only_keys({"max_relative_error", "max_absolute_error", "extra"}));
  }
  FIB_CHECK(view.object());
  Correctness correctness;
  if (const auto error = view.find("max_relative_error")) {
    correctness.max_relative_error = FIB_TRY(error->number());
  }
  if (const auto error = view.find("max_absolute_error")) {
    correctness.max_absolute_error = FIB_TRY(error->number());
  }
  if (const auto extra = view.find("extra")) {
    FIB_CHECK(extra->object());
    correctness.extra = extra->json();
  }
  return correctness;
}

Result<Performance> read_performance(const JsonView& view, Strictness strictness) {
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(view.only_keys({"latency_ms", "reference_latency_ms", "speedup_factor"}));
  }
  Performance performance;
  const std::pair<const char*, double*> fields[] = {
      {"latency_ms", &performance.latency_ms},
      {"reference_latency_ms", &performance.reference_latency_ms},
      {"speedup_factor", &performance.speedup_factor}};
  for (const auto& [key, field] : fields) {
    const JsonView value = FIB_TRY(view.at(key));
    *field = FIB_TRY(value.number());
    if (!(*field >= 0.0)) return value.error(fmt::format("'{}' is below 0", key));
  }
  return performance;
}

Result<Evaluation> read_evaluation(const JsonView& view, Strictness strictness) {
  const bool is_strict = strictness == Strictness::kStrict;
  if (is_strict) {
    FIB_CHECK(view.only_keys({"status", "environment", "timestamp", "log", "correctness",
                              "performance", "fib"}));
  }
  Evaluation evaluation;
  const JsonView status = FIB_TRY(view.at("status"));
  const std::string status_text = FIB_TRY(status.string());
  const auto parsed = trace_status_from_name(status_text);
  if (!parsed) {
    return status.error(fmt::format("there is no status '{}'", status_text),
                        "PASSED, INCORRECT_SHAPE, INCORRECT_NUMERICAL, INCORRECT_DTYPE, "
                        "RUNTIME_ERROR, COMPILE_ERROR or TIMEOUT");
  }
  evaluation.status = *parsed;

  const JsonView environment = FIB_TRY(view.at("environment"));
  if (is_strict) FIB_CHECK(environment.only_keys({"hardware", "libs"}));
  // Old files say `device`.
  const bool is_old = !environment.contains("hardware") && environment.contains("device");
  const JsonView hardware = FIB_TRY(environment.at(is_old && !is_strict ? "device" : "hardware"));
  evaluation.hardware = FIB_TRY(hardware.string());
  if (const auto libs = environment.find("libs")) {
    const auto members = FIB_TRY(libs->object());
    for (const auto& [name, version] : members) {
      evaluation.libs.emplace_back(name, FIB_TRY(version.string()));
    }
  }
  evaluation.timestamp = FIB_TRY(FIB_TRY(view.at("timestamp")).string());
  if (const auto log = view.find("log")) evaluation.log = FIB_TRY(log->string());
  if (const auto correctness = view.find("correctness")) {
    evaluation.correctness = FIB_TRY(read_correctness(*correctness, strictness));
  }
  if (const auto performance = view.find("performance")) {
    evaluation.performance = FIB_TRY(read_performance(*performance, strictness));
  }
  FIB_CHECK(check_presence(evaluation, view));
  return evaluation;
}

// JSON has no infinities; the ecosystem spells them out.
Json number_to_json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

Json evaluation_to_json(const Evaluation& evaluation, const Json& original) {
  Json json = Json::object();
  json["status"] = trace_status_name(evaluation.status);
  Json environment = Json::object();
  environment["hardware"] = evaluation.hardware;
  environment["libs"] = Json::object();
  for (const auto& [name, version] : evaluation.libs) environment["libs"][name] = version;
  json["environment"] = overlay(member(original, "environment"), environment,
                                {"hardware", "device", "libs"});
  json["timestamp"] = evaluation.timestamp;
  json["log"] = evaluation.log;
  json["correctness"] = nullptr;
  if (const auto& result = evaluation.correctness) {
    Json correctness = Json::object();
    correctness["max_relative_error"] = number_to_json(result->max_relative_error);
    correctness["max_absolute_error"] = number_to_json(result->max_absolute_error);
    correctness["extra"] = result->extra;
    json["correctness"] = overlay(member(original, "correctness"), correctness, {});
  }
  json["performance"] = nullptr;
  if (const auto& result = evaluation.performance) {
    Json performance = Json::object();
    performance["latency_ms"] = result->latency_ms;
    performance["reference_latency_ms"] = result->reference_latency_ms;
    performance["speedup_factor"] = result->speedup_factor;
    json["performance"] = overlay(member(original, "performance"), performance, {});
  }
  return overlay(original, json, {});
}

}  // namespace

Result<Trace> trace_from_json(const Json& json, std::string_view where, Strictness strictness) {
  const JsonView root(json, std::string(where));
  const bool is_strict = strictness == Strictness::kStrict;
  if (is_strict) {
    FIB_CHECK(root.only_keys({"definition", "workload", "solution", "evaluation", "fib"}));
  }
  Trace trace;
  trace.definition = FIB_TRY(FIB_TRY(root.at("definition")).non_empty_string());
  const JsonView workload = FIB_TRY(root.at("workload"));
  trace.workload = FIB_TRY(read_workload(workload, strictness));
  trace.workload.where = std::string(where);
  if (const auto solution = root.find("solution")) {
    std::string name = FIB_TRY(solution->string());
    if (is_strict && name.empty()) return solution->error("the name is empty", "write null");
    if (!name.empty()) trace.solution = std::move(name);
  }
  if (const auto evaluation = root.find("evaluation")) {
    const bool is_absent = !is_strict && evaluation->json().is_object() &&
                           evaluation->json().empty();
    if (!is_absent) trace.evaluation = FIB_TRY(read_evaluation(*evaluation, strictness));
  }
  if (is_strict && trace.solution.has_value() != trace.evaluation.has_value()) {
    return root.error("'solution' and 'evaluation' go together",
                      "both null: the line is a workload");
  }
  trace.original = json;
  return trace;
}

Json trace_to_json(const Trace& trace) {
  Json json = Json::object();
  json["definition"] = trace.definition;
  json["workload"] = workload_to_json(trace.workload);
  json["solution"] = trace.solution ? Json(*trace.solution) : Json(nullptr);
  json["evaluation"] =
      trace.evaluation ? evaluation_to_json(*trace.evaluation, member(trace.original, "evaluation"))
                       : Json(nullptr);
  return overlay(trace.original, json, {});
}

}  // namespace fib
