#pragma once

// The SQLite store: every verdict is committed when it is made, raw samples are kept.
// WAL mode, versioned migrations (leaderboard/schema.h). Several processes may write; one Store may
// be shared by threads. docs/store.md describes the file.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/verdict.h"
#include "leaderboard/board.h"
#include "leaderboard/paired_record.h"

namespace fib {

struct VerdictQuery {
  std::string signature, solution, hardware, status;  // empty: any; solution: name or key
  bool only_latest = false;  // of each (solution, workload, hardware, configuration)
  int64_t limit = 100;
};

// Resume key: what has been measured already.
struct VerdictKey {
  std::string solution_key, signature, workload, hardware, config_key;
  std::string incumbent_key;  // empty: with or without a pair
};

class Store {
 public:
  // Creates or migrates. Errors: a locked database (kConflict, after 5 s), a corrupt or foreign
  // file (kInvalidInput, the remedy says how to set it aside), a newer schema, a full disk.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& file);
  ~Store();

  // Commits, and returns the verdict's id. The solution's sources are kept beside it, and its pair,
  // whose incumbent must be in the store (add_solution).
  Result<int64_t> add(const Verdict& verdict, const Solution& solution, const Workload& workload);
  Result<Verdict> get(int64_t id) const;
  // The newest. With an incumbent the newest verdict that is paired with it, or that has no more to
  // be paired: a failure. A FASTER that was never confirmed is not found.
  Result<std::optional<int64_t>> find(const VerdictKey& key) const;
  Result<std::vector<Verdict>> query(const VerdictQuery& query) const;  // newest first, no samples
  Result<int64_t> count_verdicts() const;
  // Of each candidate, incumbent, workload and hardware the newest, oldest first.
  Result<std::vector<PairedRecord>> paired(const PairedQuery& query) const;

  // Without a verdict (an import). Of one key the first is kept.
  Result<void> add_solution(const Solution& solution);
  Result<Solution> solution(std::string_view key_or_name) const;  // of one name, the newest
  Result<std::vector<Solution>> solutions() const;
  Result<Workload> workload(std::string_view signature, std::string_view workload_id) const;

  // Ranked as leaderboard/board.h says. Empty: all signatures.
  Result<std::vector<BoardRow>> board(std::string_view signature) const;

  // Imported definitions, as they were read. Of one name the newest is kept.
  Result<void> add_definition(const Signature& signature, std::string_view origin);
  Result<std::vector<Signature>> definitions() const;

  // Traces of other harnesses, kept apart from our own verdicts. The same trace is kept once; all
  // are added or none. Returns how many were new.
  Result<int64_t> add_foreign_traces(const std::vector<Trace>& traces, std::string_view origin);
  Result<std::vector<Trace>> foreign_traces() const;

  int schema_version() const;

 private:
  Store();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fib
