#pragma once

// The table `pairs`: written with the verdict that carries the pair, read for selection.

#include <vector>

#include "leaderboard/paired_record.h"
#include "leaderboard/sqlite.h"

namespace fib {

// Rows that a verdict points to, as the store has them.
struct VerdictIds {
  int64_t verdict = 0, signature = 0, solution = 0, workload = 0, hardware = 0, configuration = 0;
};

// Inside the transaction that adds the verdict. The incumbent must be in the store already.
Result<void> add_pair(const Database& database, const VerdictIds& ids, const PairedRecord& record,
                      double noise_floor);

// The newest of each candidate, incumbent, workload and hardware, in the order of the verdicts.
Result<std::vector<PairedRecord>> read_pairs(const Database& database, const PairedQuery& query);

}  // namespace fib
