#pragma once

// What a store knows of signatures and hardware, as selection wants it.

#include <map>
#include <string>
#include <vector>

#include "integrations/package/export/winners.h"
#include "leaderboard/store.h"

namespace fib {

class StoreEvidence {
 public:
  struct Hardware {
    std::string target;
    std::string architecture;  // "sm_90a"; of the newest verdict
  };

  // Of these pieces of hardware; empty: of all. The store has to outlive it. kNotFound: no pairs of
  // one of them; lists those there are.
  static Result<StoreEvidence> read(const Store& store, const std::vector<std::string>& hardware);

  std::vector<std::string> signatures() const;  // that have pairs, sorted
  const std::map<std::string, Hardware>& hardware() const { return hardware_; }  // by key
  const Store& store() const { return *store_; }
  // Whether a solution of this name or key was timed.
  bool has_solution(std::string_view name_or_key) const;

  // Pairs, solutions and failures of `input.signature`, by its name.
  Result<void> add_to(WinnerInput& input) const;

 private:
  explicit StoreEvidence(const Store& store) : store_(&store) {}
  Result<std::vector<FailedVerdict>> failures_of(const std::string& signature) const;

  const Store* store_;
  std::map<std::string, std::vector<PairedRecord>> records_;  // by signature
  std::map<std::string, Hardware> hardware_;
};

}  // namespace fib
