#pragma once

// The SQLite store: every verdict is committed when it is made, raw samples are kept.
// WAL mode, versioned migrations. Several processes may write.

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/verdict.h"

namespace fib {

struct VerdictQuery {
  std::string signature, solution, hardware, status;  // empty: any
  int64_t limit = 100;
};

// Resume key: what has been measured already.
struct VerdictKey {
  std::string solution_key, signature, workload, hardware, config_key;
};

struct BoardRow {
  int rank = 0;                 // ties share a rank; 0: not ranked (incomplete or failing)
  std::string solution, author, signature, hardware;
  int64_t workloads_passed = 0, workloads_total = 0;
  double geomean_latency_ns = 0.0;   // traffic-weighted over workloads, cold
  double geomean_speedup = 0.0;      // over the baseline (the signature's slowest ranked house
                                     // solution until paired verdicts exist)
  double speedup_low = 0.0, speedup_high = 0.0;  // 95 %
  double worst_speedup = 0.0;
  std::string worst_workload;
  double roofline_fraction = 0.0;    // traffic-weighted
  std::string failing_status;        // first status that is not PASSED
};

class Store {
 public:
  // Creates or migrates. Errors: a locked database (kConflict, after 5 s), a corrupt or foreign
  // file (kInvalidInput, the remedy says how to set it aside), a newer schema, a full disk.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& file);
  ~Store();

  // Commits; the id is set in the returned verdict. The solution's sources are kept beside it.
  Result<int64_t> add(const Verdict& verdict, const Solution& solution, const Workload& workload);
  Result<Verdict> get(int64_t id) const;
  Result<std::optional<int64_t>> find(const VerdictKey& key) const;
  Result<std::vector<Verdict>> query(const VerdictQuery& query) const;  // newest first, no samples
  Result<Solution> solution(std::string_view key_or_name) const;
  Result<std::vector<Solution>> solutions() const;
  Result<std::vector<BoardRow>> board(std::string_view signature) const;  // empty: all
  // Imported traces from other harnesses, kept apart from our own verdicts.
  Result<int64_t> add_foreign_trace(const Trace& trace, std::string_view origin);
  Result<std::vector<Trace>> foreign_traces() const;
  int schema_version() const;

 private:
  Store();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fib
