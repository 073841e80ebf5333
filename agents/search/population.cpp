#include "agents/search/population.h"

#include <algorithm>
#include <cmath>

namespace fib::agents {

namespace {

// A new best is worth this and, up to 1, three times the logarithm of its gain: 28 % earn it all.
constexpr double kBestReward = 0.25;
constexpr double kRewardPerLogGain = 3.0;
// A step aside that may lead somewhere.
constexpr double kCellReward = 0.1;
// In candidates: by then others may be there to take something from.
constexpr int64_t kExhaustedFor = 100;

}  // namespace

Population::Population(const SearchOptions& options)
    : options_(options),
      islands_(static_cast<size_t>(options.islands)),
      bandit_(options.exploration) {}

void Population::add(const CandidateRecord& candidate) {
  ++size_;
  const bool is_seed = candidate.proposer == kSeedProposer;
  if (!candidate.parents.empty()) ++children_[candidate.parents.front()];
  const bool is_right = candidate.fate == CandidateFate::kMeasured;
  // Who was beaten may be a step aside all the same.
  const double reward = is_right || candidate.was_beaten() ? place(candidate) : 0.0;
  if (is_seed) {
    if (!is_right && !candidate.solution_key.empty()) failed_seeds_.push_back(candidate.number);
    return;
  }
  learn_of_proposer(candidate, reward);
  const auto island = static_cast<size_t>(candidate.island);
  if (++islands_.at(island).candidates % options_.migration_interval == 0) migrate(island);
}

double Population::place(const CandidateRecord& candidate) {
  const Elite elite{candidate.number, candidate.speedup_low, cell_of(candidate.behaviour)};
  if (candidate.proposer == kSeedProposer) {
    right_seeds_.insert(std::ranges::upper_bound(right_seeds_, elite, is_better), elite);
  }
  const Grid::Arrival arrival = islands_.at(static_cast<size_t>(candidate.island)).grid.add(elite);
  if (candidate.fate == CandidateFate::kMeasured && (!best_ || is_better(elite, *best_))) {
    const double gain =
        best_ && best_->speedup_low > 0.0 ? std::log(elite.speedup_low / best_->speedup_low) : 0.0;
    best_ = elite;
    return std::min(1.0, kBestReward + kRewardPerLogGain * gain);
  }
  return arrival == Grid::Arrival::kNoElite ? 0.0 : kCellReward;
}

void Population::learn_of_proposer(const CandidateRecord& candidate, double reward) {
  const bool is_refused = candidate.fate == CandidateFate::kRefused;
  const std::string& reason = candidate.refusal.reason;
  if (is_refused && reason == "budget") return;  // the run's end, nobody's fault
  // Waiting is shared among all in flight; building and measuring aren't.
  bandit_.record(candidate.proposer, reward,
                 candidate.build_s + candidate.device_s + candidate.cost.seconds / options_.lag);
  int& in_a_row = refusals_in_a_row_[candidate.proposer];
  if (!is_refused) {
    in_a_row = 0;
  } else if (reason == "exhausted" && !candidate.parents.empty()) {
    exhausted_[{candidate.proposer, candidate.parents.front()}] = size_;
  } else {
    ++in_a_row;
  }
}

void Population::migrate(size_t to) {
  const size_t from = (to + islands_.size() - 1) % islands_.size();
  const std::vector<Elite> elites = islands_[from].grid.elites();
  if (from != to && !elites.empty()) islands_[to].grid.add(elites.front());
}

std::vector<Elite> Population::all_elites() const {
  std::vector<Elite> all;
  for (const Island& island : islands_) {
    for (const Elite& elite : island.grid.elites()) all.push_back(elite);
  }
  std::ranges::sort(all, is_better);
  const auto repeated = std::ranges::unique(all, {}, &Elite::number);
  all.erase(repeated.begin(), repeated.end());
  return all;
}

int64_t Population::children(int64_t parent) const {
  const auto found = children_.find(parent);
  return found == children_.end() ? 0 : found->second;
}

bool Population::is_set_aside(const std::string& proposer) const {
  const auto found = refusals_in_a_row_.find(proposer);
  return found != refusals_in_a_row_.end() && found->second >= kMostRefusals;
}

bool Population::is_exhausted(const std::string& proposer, int64_t parent) const {
  const auto found = exhausted_.find({proposer, parent});
  return found != exhausted_.end() && size_ - found->second < kExhaustedFor;
}

}  // namespace fib::agents
