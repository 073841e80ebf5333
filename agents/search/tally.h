#pragma once

// What a run comes to: counts by fate, reason and proposer, what was spent, and how well copies of
// the same program agree. All of it from the records, so that it is the same after a resume.

#include <map>
#include <string>
#include <vector>

#include "leaderboard/run_archive.h"

namespace fib::agents {

// Of a budget, and of what was used of it.
struct Amounts {
  int64_t candidates = 0;  // asked for; seeds don't count
  double seconds = 0.0;    // of the run, pauses left out
  int64_t tokens = 0;      // of prompts and answers
  double money = 0.0;
};

struct ProposerTally {
  int64_t asked = 0, refused = 0, duplicates = 0, failed = 0, slow = 0, measured = 0;
  ProposalCost cost;
  Refusal last_refusal;  // empty: never refused

  Json counts_to_json() const;  // without the cost
};

// Duplicates that were timed all the same: the same program twice, so what differs is noise.
struct ControlSpread {
  int64_t pairs = 0;
  double rms = 0.0;    // of the relative differences of speedups
  double worst = 0.0;  // the largest

  Json to_json() const;
};

class Tally {
 public:
  // In the order of the numbers.
  void add(const CandidateRecord& candidate);

  int64_t candidates() const { return candidates_; }  // seeds among them
  int64_t seeds() const { return seeds_; }
  int64_t early_kills() const { return early_kills_; }  // by screening or race
  int64_t measured() const { return measured_; }
  // Why candidates weren't measured: by fate and reason, and by reason alone.
  const std::map<CandidateFate, std::map<std::string, int64_t>>& reasons() const {
    return reasons_;
  }
  std::map<std::string, int64_t> rejected() const;
  const std::map<std::string, ProposerTally>& proposers() const { return proposers_; }
  ControlSpread controls() const;
  Amounts spent() const;  // without the seconds, which no record knows

 private:
  int64_t candidates_ = 0, seeds_ = 0, early_kills_ = 0, measured_ = 0;
  std::map<CandidateFate, std::map<std::string, int64_t>> reasons_;
  std::map<std::string, ProposerTally> proposers_;
  std::map<int64_t, double> judged_;  // speedups by number, as they were at first
  std::vector<double> differences_;
};

}  // namespace fib::agents
