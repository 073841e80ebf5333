#include "agents/search/tally.h"

#include <algorithm>
#include <cmath>

#include "agents/search/search.h"

namespace fib::agents {

void Tally::add(const CandidateRecord& candidate) {
  ++candidates_;
  if (candidate.proposer == kSeedProposer) ++seeds_;
  ProposerTally& proposer = proposers_[candidate.proposer];
  ++proposer.asked;
  proposer.cost.seconds += candidate.cost.seconds;
  proposer.cost.prompt_tokens += candidate.cost.prompt_tokens;
  proposer.cost.answer_tokens += candidate.cost.answer_tokens;
  proposer.cost.money += candidate.cost.money;
  if (candidate.fate != CandidateFate::kMeasured) ++rejected_[candidate.refusal.reason];
  const bool ended_at_screening = candidate.stage == CandidateStage::kScreened;
  switch (candidate.fate) {
    case CandidateFate::kRefused: ++proposer.refused; break;
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
      early_kills_ += ended_at_screening ? 1 : 0;
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
