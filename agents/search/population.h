#pragma once

// What a search knows after so many of its candidates, folded in the order of their numbers: the
// islands with their grids, what became of each proposer's work, who has had children.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agents/search/bandit.h"
#include "agents/search/grid.h"

namespace fib::agents {

class Population {
 public:
  explicit Population(const SearchOptions& options);

  void add(const CandidateRecord& candidate);

  int64_t size() const { return size_; }
  const std::optional<Elite>& best() const { return best_; }
  const Grid& island(int island) const { return islands_.at(static_cast<size_t>(island)).grid; }
  // Elites of all islands, best first, each once.
  std::vector<Elite> all_elites() const;
  // Seeds that are right, best first: what they declare may be worth more than their speed.
  const std::vector<Elite>& right_seeds() const { return right_seeds_; }
  // Seeds that aren't right, which may still be repaired where nothing is right.
  const std::vector<int64_t>& failed_seeds() const { return failed_seeds_; }
  const ProposerBandit& bandit() const { return bandit_; }
  int64_t children(int64_t parent) const;
  bool is_set_aside(const std::string& proposer) const;
  bool is_exhausted(const std::string& proposer, int64_t parent) const;

 private:
  struct Island {
    Grid grid;
    int64_t candidates = 0;  // seeds left out
  };
  // What the candidate is worth to whoever proposed it; places it.
  double place(const CandidateRecord& candidate);
  void learn_of_proposer(const CandidateRecord& candidate, double reward);
  void migrate(size_t to);

  const SearchOptions options_;
  int64_t size_ = 0;
  std::vector<Island> islands_;
  std::optional<Elite> best_;
  std::vector<Elite> right_seeds_;
  std::vector<int64_t> failed_seeds_;
  ProposerBandit bandit_;
  std::map<int64_t, int64_t> children_;
  std::map<std::string, int> refusals_in_a_row_;
  std::map<std::pair<std::string, int64_t>, int64_t> exhausted_;  // when, in candidates
};

}  // namespace fib::agents
