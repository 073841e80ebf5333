#include "agents/feedback/feedback.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "agents/feedback/compile_messages.h"
#include "agents/feedback/occupancy.h"
#include "agents/feedback/source_diff.h"
#include "agents/text.h"
#include "harness/verdict_json.h"
#include "runners/cuda/profile_counters.h"

namespace fib::agents {

namespace {

constexpr int kVersion = 1;
constexpr size_t kMostFailures = 3;
constexpr size_t kMostOutputs = 4;
constexpr size_t kMostKernels = 8;
constexpr size_t kMostStalls = 4;
constexpr size_t kMostFiles = 16;
constexpr TextLimit kNameLimit{.lines = 1, .bytes = 200};
constexpr TextLimit kMessageLimit{.lines = 8, .bytes = 800};
constexpr TextLimit kRunLogLimit{.lines = 15, .bytes = 1500};
constexpr TextLimit kDiffLimit{.lines = 60, .bytes = 4000};

double median_ns(const Verdict& verdict, TimingMode mode) {
  const ModeSummary* timing = verdict.timing(mode);
  return timing == nullptr ? 0.0 : timing->latency_ns.median;
}

double cold_ns(const Verdict& verdict) { return median_ns(verdict, TimingMode::kCold); }

// Weighted by the traffic: what all would gain if this workload ran at its floor.
double time_to_gain(const Verdict& verdict) {
  return verdict.workload_weight * std::max(0.0, cold_ns(verdict) - verdict.roofline.floor_ns);
}

std::string_view outcome_of(const FeedbackSource& source) {
  if (!source.compiles) return "compile-error";
  if (source.verdicts.empty()) return "built";
  for (const Verdict& verdict : source.verdicts) {
    switch (verdict.status) {
      case VerdictStatus::kPassed: continue;
      case VerdictStatus::kCompileError: return "compile-error";
      case VerdictStatus::kTimeout: return "timeout";
      case VerdictStatus::kRuntimeError: return "failed";
      case VerdictStatus::kIncorrectShape:
      case VerdictStatus::kIncorrectNumerical:
      case VerdictStatus::kIncorrectDType: return "wrong";
    }
  }
  return "right";
}

Json call_to_json(const Verdict& verdict) {
  return {{"signature", verdict.signature}, {"axes", verdict.axes}};
}

Json output_to_json(const OutputVerdict& output) {
  const ErrorStats& stats = output.stats;
  return {{"name", output.name},
          {"passed", output.passed},
          {"relative_rms_error", number_to_json(stats.relative_rms_error())},
          {"error_over_honest", number_to_json(output.honest_ratio)},
          {"elements", stats.count},
          {"elements_wrong", stats.elements_over_bound},
          {"nonfinite_mismatches", stats.nonfinite_mismatches},
          {"first_wrong_index", stats.first_bad_index},
          {"error_histogram", stats.histogram}};
}

Json failure_to_json(const Verdict& verdict) {
  Json failure = call_to_json(verdict);
  failure["status"] = trace_status_name(verdict.status);
  failure["reason"] = verdict.reason;
  failure["message"] = shortened(verdict.message, kMessageLimit);
  Json outputs = Json::array();
  for (const OutputVerdict& output : verdict.outputs) {
    if (outputs.size() < kMostOutputs) outputs.push_back(output_to_json(output));
  }
  if (!outputs.empty()) failure["outputs"] = std::move(outputs);
  // What a program printed before it died.
  const bool may_have_said =
      verdict.status == VerdictStatus::kRuntimeError || verdict.status == VerdictStatus::kTimeout;
  if (may_have_said && !verdict.log.empty()) failure["log"] = shortened(verdict.log, kRunLogLimit);
  return failure;
}

Json failures_to_json(const std::vector<Verdict>& verdicts) {
  // One of each kind says more than three of the same.
  std::map<std::pair<VerdictStatus, std::string>, int64_t> kinds;
  Json rows = Json::array();
  int64_t failed = 0;
  for (const Verdict& verdict : verdicts) {
    if (verdict.status == VerdictStatus::kPassed) continue;
    ++failed;
    const bool is_first = ++kinds[{verdict.status, verdict.reason}] == 1;
    if (is_first && rows.size() < kMostFailures) rows.push_back(failure_to_json(verdict));
  }
  if (failed == 0) return nullptr;
  return {{"count", failed}, {"examples", std::move(rows)}};
}

// Of the workloads that passed: how much of what is allowed was used up.
Json accuracy_to_json(const std::vector<Verdict>& verdicts) {
  const Verdict* worst_verdict = nullptr;
  const OutputVerdict* worst = nullptr;
  for (const Verdict& verdict : verdicts) {
    if (verdict.status != VerdictStatus::kPassed) continue;
    for (const OutputVerdict& output : verdict.outputs) {
      if (worst != nullptr && output.honest_ratio <= worst->honest_ratio) continue;
      worst_verdict = &verdict;
      worst = &output;
    }
  }
  if (worst == nullptr) return nullptr;
  Json accuracy = call_to_json(*worst_verdict);
  accuracy["output"] = worst->name;
  accuracy["relative_rms_error"] = number_to_json(worst->stats.relative_rms_error());
  accuracy["error_over_honest"] = number_to_json(worst->honest_ratio);
  return accuracy;
}

Json time_row(const Verdict& verdict) {
  Json row = call_to_json(verdict);
  row["cold_median_ns"] = cold_ns(verdict);
  for (const auto& [mode, name] : {std::pair(TimingMode::kWarm, "warm_median_ns"),
                                   std::pair(TimingMode::kGraph, "graph_median_ns")}) {
    if (const double median = median_ns(verdict, mode); median > 0.0) row[name] = median;
  }
  if (verdict.roofline.floor_ns > 0.0) {
    row.update({{"floor_ns", verdict.roofline.floor_ns},
                {"bound", verdict.roofline.bound},
                {"roofline_fraction", verdict.roofline.fraction}});
  }
  if (verdict.speedup) row["speedup"] = *verdict.speedup;
  return row;
}

std::vector<const Verdict*> timed_verdicts(const std::vector<Verdict>& verdicts) {
  std::vector<const Verdict*> timed;
  for (const Verdict& verdict : verdicts) {
    if (verdict.status == VerdictStatus::kPassed && cold_ns(verdict) > 0.0)
      timed.push_back(&verdict);
  }
  // Nearest to the floor first.
  std::ranges::stable_sort(timed, std::greater(),
                           [](const Verdict* verdict) { return verdict->roofline.fraction; });
  return timed;
}

Json time_to_json(const FeedbackSource& source, const std::vector<const Verdict*>& timed) {
  if (timed.empty()) return nullptr;
  Json time{{"workloads", timed.size()}};
  if (source.speedup > 0.0) {
    time.update({{"speedup", source.speedup},
                 {"speedup_low", source.speedup_low},
                 {"speedup_high", source.speedup_high}});
  }
  time["best"] = time_row(*timed.front());
  if (timed.size() > 2) time["median"] = time_row(*timed[timed.size() / 2]);
  if (timed.size() > 1) time["worst"] = time_row(*timed.back());
  double all = 0.0;
  for (const Verdict* verdict : timed) all += time_to_gain(*verdict);
  const Verdict* most = most_to_gain(source.verdicts);
  if (timed.size() > 1 && all > 0.0) {
    Json gain = call_to_json(*most);
    gain["share_of_the_time_above_the_floor"] = time_to_gain(*most) / all;
    time["most_to_gain"] = std::move(gain);
  }
  return time;
}

Json counters_to_json(const KernelCounters& counters) {
  Json json = Json::object();
  const auto add = [&json](const char* name, const std::optional<double>& value) {
    if (value) json[name] = *value;
  };
  add("device_bytes", counters.device_bytes);
  add("occupancy", counters.occupancy);
  add("theoretical_occupancy", counters.theoretical_occupancy);
  add("bank_conflicts", counters.bank_conflicts);
  Json stalls = Json::array();
  for (const auto& [reason, share] : counters.stalls) {
    if (stalls.size() < kMostStalls) stalls.push_back({{"reason", reason}, {"share", share}});
  }
  if (!stalls.empty()) json["stalls"] = std::move(stalls);
  return json;
}

Json kernel_to_json(const KernelShare& kernel, const DeviceInfo& device) {
  int64_t threads = 1, blocks = 1;
  for (const uint32_t size : kernel.block) threads *= size;
  for (const uint32_t size : kernel.grid) blocks *= size;
  Json json{{"name", shortened(kernel.name, kNameLimit)},
            {"share", kernel.share},
            {"registers", kernel.registers},
            {"shared_bytes", kernel.shared_bytes},
            {"threads", threads},
            {"blocks", blocks}};
  const auto occupancy = theoretical_occupancy(
      device.architecture,
      {.threads = threads, .registers = kernel.registers, .shared_bytes = kernel.shared_bytes});
  if (occupancy) {
    json["theoretical_occupancy"] = occupancy->share;
    json["occupancy_limited_by"] = occupancy->limited_by;
    if (device.multiprocessors > 0) {
      json["waves"] = static_cast<double>(blocks) /
                      static_cast<double>(occupancy->blocks * device.multiprocessors);
    }
  }
  return json;
}

// Those of the workload where most is to gain; counters are put beside the kernel of their name.
Json kernels_to_json(const FeedbackSource& source) {
  Json rows = Json::array();
  std::vector<bool> is_placed(source.counters.size(), false);
  const Verdict* shown = most_to_gain(source.verdicts);
  if (shown != nullptr) {
    for (const KernelShare& kernel : shown->kernels) {
      if (rows.size() == kMostKernels) break;
      Json row = kernel_to_json(kernel, shown->device);
      for (size_t i = 0; i < source.counters.size(); ++i) {
        if (is_placed[i] ||
            bare_kernel_name(source.counters[i].kernel) != bare_kernel_name(kernel.name))
          continue;
        row["counters"] = counters_to_json(source.counters[i]);
        is_placed[i] = true;
        break;
      }
      rows.push_back(std::move(row));
    }
  }
  for (size_t i = 0; i < source.counters.size() && rows.size() < kMostKernels; ++i) {
    if (is_placed[i]) continue;
    rows.push_back({{"name", shortened(source.counters[i].kernel, kNameLimit)},
                    {"counters", counters_to_json(source.counters[i])}});
  }
  if (rows.empty()) return nullptr;
  Json kernels = shown == nullptr ? Json::object() : call_to_json(*shown);
  if (shown != nullptr && shown->roofline.bytes > 0.0) {
    kernels["least_device_bytes"] = shown->roofline.bytes;
  }
  kernels["list"] = std::move(rows);
  return kernels;
}

Json resources_to_json(const Behaviour& behaviour) {
  Json json = Json::object();
  const auto add = [&json](const char* name, int64_t value) {
    if (value > 0) json[name] = value;
  };
  add("registers", behaviour.registers);
  add("shared_bytes", behaviour.shared_bytes);
  add("spilled_bytes", behaviour.spilled_bytes);
  add("code_bytes", behaviour.code_bytes);
  return json.empty() ? Json() : json;
}

// What changed in the sources: counted for every file, quoted within bounds.
Json diff_to_json(const Solution& parent, const Solution& child) {
  Json files = Json::array();
  std::string text;
  for (const FileDiff& file : diff_sources(parent.sources, child.sources)) {
    if (files.size() == kMostFiles) break;
    files.push_back({{"path", file.path}, {"added", file.added}, {"removed", file.removed}});
    text += fmt::format("--- {}\n{}", file.path, file.hunks);
  }
  return {{"files", std::move(files)}, {"text", shortened(text, kDiffLimit)}};
}

Json parent_to_json(const FeedbackSource& source) {
  if (source.parent == nullptr) return nullptr;
  Json json{{"name", source.parent->name}};
  if (source.parent_record) {
    const CandidateRecord& record = *source.parent_record;
    json["fate"] = candidate_fate_name(record.fate);
    if (record.speedup > 0.0) json["parent_speedup"] = record.speedup;
    if (record.speedup > 0.0 && source.speedup > 0.0) {
      json["speedup"] = source.speedup / record.speedup;
    }
  }
  const Json resources = resources_to_json(source.parent_record ? source.parent_record->behaviour
                                                                : source.parent_behaviour);
  if (!resources.is_null()) json["resources"] = resources;
  json["diff"] = diff_to_json(*source.parent, source.solution);
  return json;
}

std::string target_of(const Solution& solution) {
  return solution.fib.is_object() ? solution.fib.value("target", "") : "";
}

}  // namespace

const Verdict* most_to_gain(const std::vector<Verdict>& verdicts) {
  const std::vector<const Verdict*> timed = timed_verdicts(verdicts);
  const auto most = std::ranges::max_element(
      timed, {}, [](const Verdict* verdict) { return time_to_gain(*verdict); });
  return most == timed.end() ? nullptr : *most;
}

FeedbackSource source_of_verdict(const Solution& solution, const Verdict& verdict) {
  FeedbackSource source{.solution = solution};
  source.verdicts = {verdict};
  source.compiles = verdict.status != VerdictStatus::kCompileError;
  source.speedup = verdict.speedup.value_or(0.0);
  source.speedup_low = verdict.speedup_low.value_or(0.0);
  source.speedup_high = verdict.speedup_high.value_or(0.0);
  // The log has more than the compiler's words, also what ran printed. Of what compiled only
  // warnings can be meant, and errors are another's: an incumbent's that wasn't built.
  const std::vector<CompileMessage> messages = read_compile_log(verdict.log);
  const bool are_warnings =
      !messages.empty() && std::ranges::all_of(messages, [](const CompileMessage& message) {
        return message.severity == CompileMessage::Severity::kWarning;
      });
  if (!source.compiles || are_warnings) source.build_log = verdict.log;
  return source;
}

Json make_feedback(const FeedbackSource& source) {
  const std::vector<const Verdict*> timed = timed_verdicts(source.verdicts);
  const int64_t passed =
      std::ranges::count(source.verdicts, VerdictStatus::kPassed, &Verdict::status);
  Json feedback{{"version", kVersion},
                {"solution", source.solution.name},
                {"target", target_of(source.solution)},
                {"outcome", outcome_of(source)},
                {"workloads", {{"judged", source.verdicts.size()}, {"passed", passed}}}};
  const auto add = [&feedback](const char* name, Json part) {
    if (!part.is_null()) feedback[name] = std::move(part);
  };
  add("compile", compile_log_to_json(source.build_log, source.solution.sources));
  add("failures", failures_to_json(source.verdicts));
  add("accuracy", accuracy_to_json(source.verdicts));
  add("time", time_to_json(source, timed));
  add("kernels", kernels_to_json(source));
  add("resources", resources_to_json(source.behaviour));
  add("parent", parent_to_json(source));
  return feedback;
}

}  // namespace fib::agents
