#include "harness/judge.h"

#include <fmt/format.h>

#include <cmath>

#include "harness/local_time.h"
#include "harness/roofline.h"

namespace fib {
namespace {

// NVML clocks-event reasons that are not throttling: idle, application clocks, sync boost,
// display clock setting.
constexpr uint32_t kHarmlessReasons = 0x1 | 0x2 | 0x10 | 0x100;

Verdict verdict_frame(const Problem& problem, const Solution& solution, const DeviceInfo& device) {
  Verdict verdict;
  verdict.solution = solution.name;
  verdict.solution_key = solution_key(solution);
  verdict.signature = problem.signature->name;
  verdict.workload = workload_id(problem.workload);
  verdict.axes = Json::object();
  for (const Axis& axis : problem.signature->axes) {
    if (axis.kind == Axis::Kind::kVar) verdict.axes[axis.name] = problem.axes.at(axis.name);
  }
  verdict.workload_weight = problem.workload.weight;
  verdict.device = device;
  verdict.timestamp = local_timestamp();
  return verdict;
}

// The position of a flat index: "output[3, 17]".
std::string position_of(const TensorDesc& tensor, int64_t index) {
  std::vector<int64_t> coordinates(tensor.shape.size());
  for (size_t axis = tensor.shape.size(); axis-- > 0;) {
    coordinates[axis] = index % tensor.shape[axis];
    index /= tensor.shape[axis];
  }
  return fmt::format("{}[{}]", tensor.name, fmt::join(coordinates, ", "));
}

const Tolerance& tolerance_of(const Signature& signature, const std::string& output) {
  static const Tolerance kDefault;
  const auto found = signature.fib.tolerances.find(output);
  return found == signature.fib.tolerances.end() ? kDefault : found->second;
}

VerdictStatus status_of(FaultKind kind, bool has_checks) {
  if (kind == FaultKind::kTimeout) return VerdictStatus::kTimeout;
  if (kind == FaultKind::kKernelNotFound) return VerdictStatus::kCompileError;
  // Wrong at times is wrong; the trace format wants error figures with that status.
  if (kind == FaultKind::kUnstableOutput && has_checks) return VerdictStatus::kIncorrectNumerical;
  return VerdictStatus::kRuntimeError;
}

// Honest draws are refused once in so many workloads.
constexpr double kLeastDrawsP = 1e-6;

// Says what is wrong with one output, or nothing.
struct NumericalFault {
  std::string reason;
  std::string message;
};
std::optional<NumericalFault> numerical_fault(const OutputVerdict& output, const TensorDesc& desc,
                                              const Tolerance& tolerance) {
  const ErrorStats& stats = output.stats;
  if (stats.nonfinite_mismatches > 0) {
    return NumericalFault{
        "nonfinite-mismatch",
        fmt::format("{} of {} positions of '{}' are NaN or infinite where the reference is not, or "
                    "the other way round; first bad position {}",
                    stats.nonfinite_mismatches, stats.count, desc.name,
                    position_of(desc, stats.first_bad_index))};
  }
  if (stats.elements_over_bound > 0 && is_integer(desc.dtype)) {
    return NumericalFault{
        "wrong-values",
        fmt::format("{} of {} elements of '{}' are not the reference's, and integers are judged "
                    "exactly; first bad position {}",
                    stats.elements_over_bound, stats.count, desc.name,
                    position_of(desc, stats.first_bad_index))};
  }
  if (stats.elements_over_bound > 0) {
    return NumericalFault{
        "wrong-values",
        fmt::format("{} of {} elements of '{}' are too far from the reference; first bad position "
                    "{}; worst error {:.3g} of its row's RMS",
                    stats.elements_over_bound, stats.count, desc.name,
                    position_of(desc, stats.first_bad_index), stats.max_normalised_error)};
  }
  if (!(output.honest_ratio <= tolerance.honest_factor)) {  // NaN doesn't pass
    return NumericalFault{
        "precision",
        fmt::format("the error of '{}' is {:.2f} times that of an honest implementation in the "
                    "signature's precision: somewhere precision was dropped",
                    desc.name, output.honest_ratio)};
  }
  return std::nullopt;
}

// The same of an output of random draws.
std::optional<NumericalFault> draw_fault(const OutputVerdict& output, const TensorDesc& desc,
                                         const DrawRecord& record) {
  if (record.first_bad_index >= 0) {
    return NumericalFault{
        "impossible-draw",
        fmt::format("{} at {} is outside the set that may be drawn; {} of {} draws are",
                    record.first_bad_value, position_of(desc, record.first_bad_index),
                    output.stats.elements_over_bound, output.stats.count)};
  }
  if (const double p = record.p_value(); p < kLeastDrawsP) {
    return NumericalFault{
        "wrong-distribution",
        fmt::format("the draws of '{}' are not distributed as asked: Kolmogorov-Smirnov p = {:.1e} "
                    "over {} draws",
                    desc.name, p, record.num_draws())};
  }
  return std::nullopt;
}

void summarise_timings(const JudgeInput& input, Verdict& verdict) {
  for (const ModeTiming& timing : input.outcome.timings) {
    if (timing.samples.empty()) continue;
    std::vector<double> times;
    ModeSummary summary;
    summary.mode = timing.mode;
    summary.clock = timing.clock;
    for (const Sample& sample : timing.samples) {
      times.push_back(sample.time_ns);
      if ((sample.throttle_reasons & ~kHarmlessReasons) != 0) summary.throttled = true;
    }
    summary.latency_ns = median_interval(times);
    summary.samples = static_cast<int64_t>(times.size());
    verdict.timings.push_back(summary);
  }
  verdict.samples = input.outcome.timings;
  if (const ModeSummary* cold = verdict.timing(TimingMode::kCold)) {
    if (cold->latency_ns.median > 0.0) {
      verdict.roofline.fraction = verdict.roofline.floor_ns / cold->latency_ns.median;
    }
  }
}

void check_outputs(const JudgeInput& input, Verdict& verdict) {
  for (size_t i = 0; i < input.outcome.checks.size(); ++i) {
    const TensorDesc& desc = input.problem.outputs[i];
    OutputVerdict output{.name = desc.name, .stats = input.outcome.checks[i]};
    if (input.expected != nullptr) {
      output.honest_relative_rms = input.expected->outputs[i].honest.relative_rms_error();
    }
    if (i < input.outcome.worst_honest_ratio.size()) {
      output.honest_ratio = input.outcome.worst_honest_ratio[i];
    }
    const Tolerance& tolerance = tolerance_of(*input.problem.signature, desc.name);
    const auto fault = tolerance.rule == Tolerance::Rule::kDistribution
                           ? draw_fault(output, desc, input.outcome.draws.at(i))
                           : numerical_fault(output, desc, tolerance);
    output.passed = !fault.has_value();
    if (fault && verdict.status == VerdictStatus::kPassed) {
      verdict.status = VerdictStatus::kIncorrectNumerical;
      verdict.reason = fault->reason;
      verdict.message = fault->message;
    }
    verdict.outputs.push_back(std::move(output));
  }
}

// Every element of every output met its expected value at least once.
bool is_checked_in_full(const JudgeInput& input) {
  const std::vector<TensorDesc>& outputs = input.problem.outputs;
  if (input.outcome.checks.size() != outputs.size()) return false;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (input.outcome.checks[i].count < outputs[i].num_elements()) return false;
  }
  return true;
}

// Nothing is faster than memory and arithmetic allow: such a time is an error of measurement or a
// cheat, and either way not a result.
void check_physics(const JudgeInput& input, Verdict& verdict) {
  const Result<CallCost> cost = call_cost(input.problem, input.inputs);
  const ModeSummary* cold = verdict.timing(TimingMode::kCold);
  if (!cost || cold == nullptr || verdict.status != VerdictStatus::kPassed) return;
  const double limit_ns = impossible_below_ns(*cost, input.device);
  if (cold->latency_ns.median >= limit_ns) return;
  verdict.status = VerdictStatus::kRuntimeError;
  verdict.reason = "faster-than-physics";
  verdict.message = fmt::format(
      "refused: {:.2f} us is less than the {:.2f} us that moving and computing this input takes at "
      "the device's limits",
      cold->latency_ns.median / 1e3, limit_ns / 1e3);
}

}  // namespace

Verdict judge(const JudgeInput& input) {
  Verdict verdict = verdict_frame(input.problem, input.solution, input.device);
  verdict.build_ms = input.artifact.build_ms;
  verdict.build_cached = input.artifact.from_cache;
  verdict.calls_checked = input.outcome.calls_checked;
  verdict.calls_timed = input.outcome.calls_timed;
  verdict.kernels = input.outcome.kernels;
  verdict.workspace_bytes = input.outcome.workspace_bytes;
  verdict.prepare_ns = input.outcome.prepare_ns;
  verdict.prepared_bytes = input.outcome.prepared_bytes;
  verdict.log = input.artifact.log + input.outcome.log;
  verdict.roofline = roofline_of(input.problem, input.inputs, input.device);

  check_outputs(input, verdict);
  if (input.outcome.fault) {
    verdict.status = status_of(input.outcome.fault->kind, !verdict.outputs.empty());
    verdict.reason = fault_kind_name(input.outcome.fault->kind);
    verdict.message = input.outcome.fault->message;
    return verdict;
  }
  summarise_timings(input, verdict);
  if (verdict.status != VerdictStatus::kPassed) return verdict;  // what is wrong need not be timed
  if (!is_checked_in_full(input) || verdict.timing(TimingMode::kCold) == nullptr) {
    verdict.status = VerdictStatus::kRuntimeError;
    verdict.reason = "not-measured";
    verdict.message = "the session ended without a checked and timed call";
    return verdict;
  }
  check_physics(input, verdict);
  return verdict;
}

Verdict compile_error_verdict(const Problem& problem, const Solution& solution,
                              const DeviceInfo& device, const BuildOutcome& build) {
  Verdict verdict = verdict_frame(problem, solution, device);
  verdict.status = VerdictStatus::kCompileError;
  verdict.reason = build.timed_out ? "compile-timeout" : "compile-error";
  verdict.message = build.timed_out ? "the compiler did not finish in time"
                                    : "the sources do not compile; the log says where";
  verdict.log = build.failure_log;
  return verdict;
}

}  // namespace fib
