#include "harness/verdict.h"

#include <cmath>

namespace fib {

std::string_view paired_result_name(PairedResult result) {
  switch (result) {
    case PairedResult::kNone: return "none";
    case PairedResult::kFaster: return "faster";
    case PairedResult::kSlower: return "slower";
    case PairedResult::kSame: return "same";
    case PairedResult::kAmbiguous: return "ambiguous";
  }
  return "unknown";
}

const ModeSummary* Verdict::timing(TimingMode mode) const {
  for (const ModeSummary& summary : timings) {
    if (summary.mode == mode) return &summary;
  }
  return nullptr;
}

Trace verdict_to_trace(const Verdict& verdict, const Workload& workload) {
  Trace trace;
  trace.definition = verdict.signature;
  trace.workload = workload;
  trace.workload.uuid = verdict.workload;
  trace.solution = verdict.solution;

  Evaluation evaluation;
  evaluation.status = verdict.status;
  evaluation.hardware = verdict.device.name;
  evaluation.libs = verdict.device.libraries;
  evaluation.timestamp = verdict.timestamp;
  evaluation.log = verdict.message.empty() ? verdict.log : verdict.message + "\n" + verdict.log;
  const bool has_numbers = verdict.status == VerdictStatus::kPassed ||
                           verdict.status == VerdictStatus::kIncorrectNumerical;
  if (has_numbers) {
    Correctness correctness;
    for (const OutputVerdict& output : verdict.outputs) {
      const bool is_nonfinite = output.stats.nonfinite_mismatches > 0;
      const auto worst = [&](double value) { return is_nonfinite ? INFINITY : value; };
      correctness.max_relative_error =
          std::max(correctness.max_relative_error, worst(output.stats.max_relative_error));
      correctness.max_absolute_error =
          std::max(correctness.max_absolute_error, worst(output.stats.max_absolute_error));
    }
    evaluation.correctness = std::move(correctness);
  }
  if (verdict.status == VerdictStatus::kPassed) {
    Performance performance;
    if (const ModeSummary* cold = verdict.timing(TimingMode::kCold)) {
      performance.latency_ms = cold->latency_ns.median / 1e6;
    }
    // The format asks for a baseline; without an incumbent the solution is its own.
    performance.speedup_factor = verdict.speedup.value_or(1.0);
    performance.reference_latency_ms = performance.latency_ms * performance.speedup_factor;
    evaluation.performance = performance;
  }
  trace.evaluation = std::move(evaluation);
  return trace;
}

}  // namespace fib
