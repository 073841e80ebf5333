#pragma once

// Candidates of one small rmsnorm, made of the house's plain solution by changing its text.

#include <gmock/gmock.h>

#include "tests/runners/cpu_fixture.h"

namespace fib::agents {

inline SignaturePtr bench_signature() { return signature_of("rmsnorm/rmsnorm", "rmsnorm_h64"); }

inline Solution house_rmsnorm(const std::string& name) {
  return must(read_solution_folder(std::filesystem::path(FIB_SOURCE_DIR) /
                                   "leaderboard/solutions/cpu/rmsnorm" / name));
}

// The plain one, called `name`, with `to` for `from`, which must be there.
inline Solution edited(const std::string& name, const std::string& from, const std::string& to) {
  Solution solution = house_rmsnorm("rmsnorm-plain");
  solution.name = name;
  std::string& code = solution.sources.at(0).content;
  const size_t at = code.find(from);
  if (at == std::string::npos) throw std::runtime_error("no '" + from + "' in the source");
  code.replace(at, from.size(), to);
  return solution;
}

inline Problem rows_problem(int64_t rows, double weight) {
  Problem problem = problem_of(bench_signature(), {{"batch_size", rows}});
  problem.workload.uuid = "rows-" + std::to_string(rows);
  problem.workload.weight = weight;
  return problem;
}

}  // namespace fib::agents
