#pragma once

// Who wins a bucket: every solution that was timed there against the fallback and each other.
// Private to winners.cpp.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "integrations/package/export/hardware_evidence.h"

namespace fib {

struct Contestant {
  const Solution* solution = nullptr;
  std::string key;
  bool serves_family = false, is_house = false;
  std::string barred;  // why it can't win anywhere; empty: it can
};

struct ContestStanding {
  CellRatio over;    // the fallback
  std::string loss;  // why it didn't win; empty: it won, or is among `tied`
};

struct Contest {
  std::vector<ContestStanding> standings;  // one a contestant
  std::vector<size_t> tied;  // contestants that nobody beats; the winner is one of them
  std::optional<size_t> winner;
};

struct ContestRules {
  const std::vector<Contestant>& contestants;
  const Contestant& fallback;
  const WinnerOptions& options;

  UnconfirmedWins unconfirmed() const {
    return options.policy == WinnerPolicy::kFastest ? UnconfirmedWins::kCount
                                                    : UnconfirmedWins::kCountAsDraws;
  }
};

// Without a winner where several are tied that serve as many signatures: settle() finds it.
Contest hold_contest(const CellEvidence& cell, const ContestRules& rules);

// Of the tied: who won in neighbouring buckets, else the house's, else the best estimate.
void settle(Contest& contest, const ContestRules& rules, const std::set<size_t>& neighbours);

// "1.31x [1.28, 1.33] on 2 workloads, confirmed".
std::string describe(const CellRatio& ratio);

// A line for each contestant.
std::vector<std::string> explain(const Contest& contest, const ContestRules& rules);

}  // namespace fib
