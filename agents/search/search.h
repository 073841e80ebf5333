#pragma once

// The search's decisions, and nothing else: which proposer changes which parent on which island. No
// threads, clocks or files; the loop (agents/search/run.h) does what it says.
//
// Every decision is a function of the options, the candidate's number, the seeds' fates and the
// fates of all candidates numbered `number - lag` or below. So a run that was killed goes on
// exactly where it stood, and the order in which results happen to come in changes nothing.
//
//   island    they take turns, and each has a quality-diversity grid of its own (grid.h); every so
//             many candidates an island is visited by its neighbour's best
//   proposer  a bandit that forgets (bandit.h), among those that can do something with a parent of
//             the island; its reward is a new best, by how much, and, less, a new elite of a cell
//   parent    now the best of the island or one of the next best, now the elite that was least
//             often a parent
//
// A refusal and a duplicate earn nothing. A proposer that is refused kMostRefusals times in a row
// is set aside; with a parent with whom it has exhausted everything it isn't asked for a while.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "leaderboard/run_archive.h"

namespace fib::agents {

inline constexpr std::string_view kSeedProposer = "seed";
inline constexpr int kMostRefusals = 20;

struct SearchOptions {
  uint64_t seed = 1;
  int islands = 3;
  int64_t migration_interval =
      40;                    // candidates of an island between two visits of a neighbour's best
  int lag = 4;               // candidates in flight at most
  double exploration = 1.0;  // of the bandit over proposers
  std::vector<std::string> proposers;  // names

  Json to_json() const;
  static Result<SearchOptions> from_json(const Json& json, std::string_view where);
  // Error: the first field that makes no sense.
  Result<void> check(std::string_view where) const;
};

struct Decision {
  int64_t number = 0;
  int island = 0;
  std::string proposer;
  int64_t parent = 0;           // number
  std::vector<int64_t> others;  // best first
  uint64_t seed = 0;
  std::optional<int64_t> best;  // of all islands, as far as it is known to this decision
};

// A cell of the quality-diversity grid: behaviours that matter, each in a few steps.
struct Cell {
  std::string bound;      // "memory", "compute", ""
  int error_step = 0;     // decades of relative error
  int resource_step = 0;  // of registers and shared memory (cuda), of code size (cpu)
  auto operator<=>(const Cell&) const = default;
};
Cell cell_of(const Behaviour& behaviour);

class Search {
 public:
  explicit Search(SearchOptions options);
  ~Search();
  const SearchOptions& options() const;

  // The fate of a candidate, in the order of the numbers, seeds first; a seed's island is its
  // number modulo the islands.
  void record(const CandidateRecord& candidate);
  // Asked for each number in turn, once all seeds and all up to `number - lag` are recorded.
  // `suits(proposer, parent)` says who can do something with whom. Nothing: nobody can do anything
  // with anybody.
  std::optional<Decision> decide(
      int64_t number, const std::function<bool(const std::string&, int64_t)>& suits) const;
  // How many of the recorded candidates such a decision knows.
  int64_t known_to(int64_t number) const;

  // The best right candidate so far, by the lower end of its interval.
  std::optional<int64_t> best() const;
  // Elites by cell of an island, best first.
  std::vector<int64_t> elites(int island) const;
  // Proposers that were refused too often in a row.
  std::vector<std::string> set_aside() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fib::agents
