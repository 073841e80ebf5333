#pragma once

// A search on the terminal: what was found, as it is found, and one refreshed line below; in a pipe
// now and then a line; with --json a line for each candidate.

#include <chrono>
#include <set>
#include <string>

#include "agents/search/run.h"
#include "integrations/cli/context.h"

namespace fib {

class AgentProgress {
 public:
  AgentProgress(const Context& context, const agents::Amounts& budget);

  // A run that is resumed has a best already.
  void on_begin(const agents::RunProgress& progress);
  void on_candidate(const CandidateRecord& candidate);
  void on_progress(const agents::RunProgress& progress);
  void finish(const agents::RunSummary& summary);

 private:
  using Clock = std::chrono::steady_clock;
  void print_outcome(const agents::RunSummary& summary) const;
  std::string line_of(const agents::RunProgress& progress) const;
  void print_best(const CandidateRecord& candidate, std::string_view state);
  void print_first_crash(const CandidateRecord& candidate);

  const Context& context_;
  const agents::Amounts budget_;
  ProgressLine line_;
  double best_low_ = 0.0;
  std::set<std::string> crashed_;  // proposers that did so once
  Clock::time_point last_shown_, last_printed_;
};

}  // namespace fib
