#include "agents/search/tally.h"

#include <algorithm>
#include <cmath>

#include "agents/search/search.h"
#include "harness/verdict_json.h"

namespace fib::agents {

Json ProposerTally::counts_to_json() const {
  return {{"asked", asked},   {"refused", refused}, {"duplicates", duplicates},
          {"failed", failed}, {"slow", slow},       {"measured", measured}};
}

Json ControlSpread::to_json() const {
  return {{"pairs", pairs}, {"rms", number_to_json(rms)}, {"worst", number_to_json(worst)}};
}

void Tally::add(const CandidateRecord& candidate) {
  ++candidates_;
  if (candidate.proposer == kSeedProposer) ++seeds_;
  ProposerTally& proposer = proposers_[candidate.proposer];
  ++proposer.asked;
  proposer.cost.seconds += candidate.cost.seconds;
  proposer.cost.prompt_tokens += candidate.cost.prompt_tokens;
  proposer.cost.answer_tokens += candidate.cost.answer_tokens;
  proposer.cost.money += candidate.cost.money;
  if (candidate.fate != CandidateFate::kMeasured) {
    ++reasons_[candidate.fate][candidate.refusal.reason];
  }
  const bool ended_early =
      candidate.stage == CandidateStage::kScreened || candidate.stage == CandidateStage::kRaced;
  switch (candidate.fate) {
    case CandidateFate::kRefused:
      ++proposer.refused;
      proposer.last_refusal = candidate.refusal;
      break;
    case CandidateFate::kDuplicate: {
      ++proposer.duplicates;
      const auto original = judged_.find(candidate.duplicate_of.value_or(-1));
      if (candidate.speedup > 0.0 && original != judged_.end()) {
        differences_.push_back(candidate.speedup / original->second - 1.0);
      }
      break;
    }
    case CandidateFate::kFailed:
      ++proposer.failed;
      early_kills_ += ended_early ? 1 : 0;
      break;
    case CandidateFate::kSlow:
      ++proposer.slow;
      ++early_kills_;
      break;
    case CandidateFate::kMeasured:
      ++proposer.measured;
      ++measured_;
      judged_[candidate.number] =
          candidate.judged_speedup > 0.0 ? candidate.judged_speedup : candidate.speedup;
      break;
  }
}

std::map<std::string, int64_t> Tally::rejected() const {
  std::map<std::string, int64_t> rejected;
  for (const auto& [fate, reasons] : reasons_) {
    for (const auto& [reason, count] : reasons) rejected[reason] += count;
  }
  return rejected;
}

ControlSpread Tally::controls() const {
  ControlSpread spread{.pairs = static_cast<int64_t>(differences_.size())};
  if (differences_.empty()) return spread;
  double squares = 0.0;
  for (const double difference : differences_) {
    squares += difference * difference;
    spread.worst = std::max(spread.worst, std::fabs(difference));
  }
  spread.rms = std::sqrt(squares / static_cast<double>(differences_.size()));
  return spread;
}

Amounts Tally::spent() const {
  Amounts spent{.candidates = candidates_ - seeds_};
  for (const auto& [name, proposer] : proposers_) {
    spent.tokens += proposer.cost.prompt_tokens + proposer.cost.answer_tokens;
    spent.money += proposer.cost.money;
  }
  return spent;
}

}  // namespace fib::agents
