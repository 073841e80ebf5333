#pragma once

// What a run already knows of a solution's configurations.

#include <string>
#include <unordered_map>
#include <vector>

#include "agents/proposers/tune/strategy.h"

namespace fib::agents {

// What was changed, and to what all tunables are set: "TILE 64 -> 128, STAGES 3".
std::string note_of(const DesignSpace& space, const Configuration& from, const Configuration& to);
// The configuration that a note of this form ends at; nothing for any other text.
std::optional<Configuration> configuration_in_note(const DesignSpace& space, std::string_view note);

// The same solution but for what it is set to.
bool is_set_otherwise(const Solution& solution, const Solution& parent, const DesignSpace& space);

// Standard deviation of the logarithm of a measured candidate's speedup, from its interval.
double noise_of(const CandidateRecord& record);

// The candidates of a run that are the request's parent set otherwise. A configuration is read from
// the note that this proposer left, and believed only if it gives the candidate's very solution, by
// its key: what others write into notes, and what became of other sources, changes nothing.
class KnownTrials {
 public:
  KnownTrials(const ProposalRequest& request, const DesignSpace& space);

  const std::vector<Trial>& trials() const { return trials_; }
  const PointSet& taken() const { return taken_; }

  // Whether the run had this solution before; then its point and outcome are known from now on.
  bool learn_if_known(const Point& point, const std::string& solution_key);

 private:
  void learn(const Point& point, const CandidateRecord& record);
  const CandidateRecord& measured(const CandidateRecord& record) const;

  std::unordered_map<std::string, const CandidateRecord*> by_key_;
  std::unordered_map<int64_t, const CandidateRecord*> by_number_;
  std::vector<Trial> trials_;
  PointSet taken_;
};

}  // namespace fib::agents
