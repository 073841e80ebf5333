#pragma once

// What there is to say of a run, worked out of its records: for terminals, pages and --json.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agents/search/search.h"
#include "agents/search/tally.h"
#include "leaderboard/run_archive.h"

namespace fib::agents {

// A cell of the grid, over all islands.
struct CellReport {
  Cell cell;
  int64_t elite = 0;       // number of the fastest
  int64_t candidates = 0;  // that are right and behave like that
};

struct RunReport {
  RunRecord run;
  std::vector<CandidateRecord> candidates;  // by number
  Tally tally;
  // Why candidates weren't measured, most frequent first.
  std::map<CandidateFate, std::vector<std::pair<std::string, int64_t>>> reasons;
  // The latest of each, by number.
  std::map<CandidateFate, std::map<std::string, int64_t>> examples;
  std::vector<int64_t> ranking;         // right ones with a known speedup, best first
  std::set<int64_t> improvements;       // that beat everything before them; seeds don't count
  std::map<std::string, int64_t> wins;  // improvements by proposer
  std::vector<CellReport> cells;        // best first
  double candidates_per_hour = 0.0;     // seeds left out; 0: not known

  const CandidateRecord* find(int64_t number) const;  // null: none
  const CandidateRecord* best() const;                // null: nothing is right yet
  // From the seed to this one, by first parents.
  std::vector<int64_t> line_of(int64_t number) const;
};

RunReport make_report(RunRecord run, std::vector<CandidateRecord> candidates);

// The run with its sums; of the candidates the best `limit`.
Json report_to_json(const RunReport& report, size_t limit);

// Right, and it is known how fast: what can be drawn and ranked.
bool is_ranked(const CandidateRecord& candidate);
// Why it came to nothing: what it was told, in a line of bounded length.
std::string cause_in_words(const CandidateRecord& candidate);
// What the elite stands for: "memory-bound, error 1e-4, 96 registers, 48 KiB shared".
std::string cell_in_words(const Cell& cell, const Behaviour& elite);
// "1.310x 1.280-1.340".
std::string speedup_in_words(const CandidateRecord& candidate);

}  // namespace fib::agents
