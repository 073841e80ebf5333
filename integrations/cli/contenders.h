#pragma once

// Solutions by what a user calls them.

#include <string>
#include <vector>

#include "harness/evaluate.h"
#include "integrations/cli/context.h"

namespace fib {

inline constexpr std::string_view kHouse = "house", kBest = "best";

// A folder or a Solution JSON file, a name or key in the store, or the name of a house solution.
Result<Solution> find_solution(const Context& context, const std::string& who);

// The same, but no file: for whoever may not read this machine's.
Result<Solution> find_known_solution(const Context& context, const std::string& who);

struct IncumbentSearch {
  const Context& context;
  const Runner& runner;
  const std::string& hardware;  // DeviceInfo::key
  const EvaluationOptions& options;
  // As find_solution, or `house`: the house's best for the signature other than the candidate; or
  // `best`: the board's leader on this hardware other than the candidate, and the house's where
  // there is none.
  const std::string& who;
};

Result<Solution> find_incumbent(const IncumbentSearch& search, const Solution& candidate,
                                const Signature& signature);

// Gives each job (of one signature) its incumbent. A job that finds none is taken out, with the
// reason in `errors`.
void find_incumbents(const IncumbentSearch& search, std::vector<EvaluationJob>& jobs,
                     std::vector<Error>& errors);

}  // namespace fib
