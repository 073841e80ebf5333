#include "leaderboard/paired_record.h"

#include <algorithm>
#include <cmath>

#include "leaderboard/weighting.h"

namespace fib {

std::optional<PairedRecord> paired_record_of(const Verdict& verdict) {
  if (verdict.paired == PairedResult::kNone) return std::nullopt;
  return PairedRecord{.verdict_id = verdict.id,
                      .candidate = verdict.solution,
                      .candidate_key = verdict.solution_key,
                      .incumbent = verdict.incumbent,
                      .incumbent_key = verdict.incumbent_key,
                      .signature = verdict.signature,
                      .workload = verdict.workload,
                      .hardware = verdict.device.key,
                      .target = verdict.device.target,
                      .config_key = verdict.config_key,
                      .axes = verdict.axes,
                      .weight = verdict.workload_weight,
                      .result = verdict.paired,
                      .speedup = verdict.speedup.value(),
                      .speedup_low = verdict.speedup_low.value(),
                      .speedup_high = verdict.speedup_high.value(),
                      .is_confirmed = verdict.is_confirmed,
                      .timestamp = verdict.timestamp};
}

PairedSummary summarise_pairs(std::span<const PairedRecord> records) {
  PairedSummary summary;
  double total_weight = 0.0, log_speedup = 0.0, variance = 0.0;
  for (const PairedRecord& record : records) {
    const double weight = std::max(record.weight, kLeastWeight);
    const double standard_error =
        (std::log(record.speedup_high) - std::log(record.speedup_low)) / (2 * kZ95);
    total_weight += weight;
    log_speedup += weight * std::log(record.speedup);
    variance += weight * weight * standard_error * standard_error;
    ++summary.workloads;
    summary.faster += record.result == PairedResult::kFaster ? 1 : 0;
    summary.slower += record.result == PairedResult::kSlower ? 1 : 0;
    summary.same += record.result == PairedResult::kSame ? 1 : 0;
    summary.ambiguous += record.result == PairedResult::kAmbiguous ? 1 : 0;
    summary.confirmed += record.is_confirmed ? 1 : 0;
  }
  if (total_weight == 0.0) return summary;
  const double mean = log_speedup / total_weight;
  const double half_width = kZ95 * std::sqrt(variance) / total_weight;
  summary.speedup = std::exp(mean);
  summary.speedup_low = std::exp(mean - half_width);
  summary.speedup_high = std::exp(mean + half_width);
  return summary;
}

}  // namespace fib
