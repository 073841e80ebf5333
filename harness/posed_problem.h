#pragma once

// A problem as it is put to candidates: inputs planned, value sets drawn.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/runner.h"

namespace fib {

struct PosedProblem {
  Problem problem;
  std::vector<InputSet> value_sets;
  std::vector<std::string> notes;
  uint64_t session_seed = 0;  // of addresses, poison and order
};

// All seeds derive from `config.seed`, the secret.
Result<std::shared_ptr<const PosedProblem>> pose(const Problem& problem,
                                                 const MeasureConfig& config);

// The expected values of a value set of the problem, by its position.
using ExpectedSource = std::function<Result<ExpectedPtr>(size_t value_set)>;

}  // namespace fib
