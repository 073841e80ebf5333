#pragma once

// The search's decisions, and nothing else: which proposer changes which parent on which island. No
// threads, clocks or files; the loop (agents/search/run.h) does what it says.
//
// Every decision is a function of the options, the candidate's number, and the fates of all candidates
// numbered below `number - lag`. So a run that was killed goes on exactly where it stood, and the order
// in which results happen to come in changes nothing.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "leaderboard/run_archive.h"

namespace fib::agents {

struct SearchOptions {
  uint64_t seed = 1;
  int islands = 3;
  int64_t migration_interval = 40;  // candidates of an island between two visits of a neighbour's best
  int lag = 4;                      // candidates in flight at most
  double exploration = 0.5;         // of the bandit over proposers
  std::vector<std::string> proposers;  // names
  Json to_json() const;
  static Result<SearchOptions> from_json(const Json& json, std::string_view where);
};

struct Decision {
  int64_t number = 0;
  int island = 0;
  std::string proposer;
  int64_t parent = 0;           // number
  std::vector<int64_t> others;  // best first
  uint64_t seed = 0;
};

// A cell of the quality-diversity grid: behaviours that matter, each in a few steps.
struct Cell {
  std::string bound;     // "memory", "compute", ""
  int error_step = 0;    // decades of relative error
  int resource_step = 0; // of registers and shared memory (cuda), of code size (cpu)
  auto operator<=>(const Cell&) const = default;
};
Cell cell_of(const Behaviour& behaviour);

class Search {
 public:
  explicit Search(SearchOptions options);
  ~Search();

  // The fate of a candidate, in the order of the numbers, seeds first.
  void record(const CandidateRecord& candidate);
  // Asked for each number in turn, once all below `number - lag` are recorded. `suits(proposer,
  // parent)` says who can do something with whom. Nothing: nobody can do anything with anybody.
  std::optional<Decision> decide(
      int64_t number, const std::function<bool(const std::string&, int64_t)>& suits) const;

  // The best right candidate so far, by the lower end of its interval.
  std::optional<int64_t> best() const;
  // Elites by cell of an island, best first.
  std::vector<int64_t> elites(int island) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fib::agents
