#include "agents/search/judgement.h"

#include <algorithm>

#include "leaderboard/paired_record.h"
#include "leaderboard/weighting.h"

namespace fib::agents {
namespace {

double weight_of(const Verdict& verdict) { return std::max(verdict.workload_weight, kLeastWeight); }

}  // namespace

Behaviour behaviour_of(const std::vector<Verdict>& verdicts, const Behaviour& built) {
  Behaviour behaviour = built;
  double weight = 0.0, fraction = 0.0;
  const Verdict* heaviest = nullptr;
  for (const Verdict& verdict : verdicts) {
    for (const OutputVerdict& output : verdict.outputs) {
      behaviour.relative_error =
          std::max(behaviour.relative_error, output.stats.relative_rms_error());
    }
    weight += weight_of(verdict);
    fraction += weight_of(verdict) * verdict.roofline.fraction;
    if (heaviest == nullptr || weight_of(verdict) > weight_of(*heaviest)) heaviest = &verdict;
  }
  if (heaviest == nullptr) return behaviour;
  behaviour.roofline_fraction = fraction / weight;
  behaviour.bound = heaviest->roofline.bound;
  const auto main_kernel = std::ranges::max_element(heaviest->kernels, {}, &KernelShare::share);
  if (main_kernel != heaviest->kernels.end()) {
    behaviour.registers = main_kernel->registers;
    behaviour.shared_bytes = main_kernel->shared_bytes;
  }
  return behaviour;
}

Judgement judgement_of(std::vector<Verdict> verdicts, size_t workloads, const Behaviour& built) {
  Judgement judgement;
  judgement.behaviour = behaviour_of(verdicts, built);
  judgement.passed =
      verdicts.size() == workloads && std::ranges::all_of(verdicts, [](const Verdict& verdict) {
        return verdict.status == VerdictStatus::kPassed;
      });
  std::vector<PairedRecord> pairs;
  for (Verdict& verdict : verdicts) {
    judgement.verdict_ids.push_back(verdict.id);
    if (auto pair = paired_record_of(verdict)) pairs.push_back(*std::move(pair));
    verdict.samples.clear();
    verdict.paired_samples.clear();
  }
  judgement.verdicts = std::move(verdicts);
  if (!judgement.passed || pairs.size() != workloads) return judgement;
  const PairedSummary summary = summarise_pairs(pairs);
  judgement.speedup = summary.speedup;
  judgement.speedup_low = summary.speedup_low;
  judgement.speedup_high = summary.speedup_high;
  return judgement;
}

}  // namespace fib::agents
