#pragma once

// A solution, judged and told what to improve next: what `fib profile` and the tool `profile` of
// `fib mcp` share.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "integrations/cli/submission.h"
#include "signatures/base/json.h"

namespace fib {

struct ProfileOptions {
  enum class Counters { kLeaveOut, kRead };  // reading takes a second, slower run
  SubmissionArgs submission;                 // `against`: the parent
  Counters counters = Counters::kRead;
  std::filesystem::path ncu;  // Nsight Compute's program; empty: it is searched
  EvaluationWatch watch;      // its stages are those of an evaluation, and then "counters"
};

struct SolutionProfile {
  Json feedback;                              // agents/feedback/feedback.h
  std::string counters_reason;                // why there are none; empty: they were read
  std::vector<std::string> counters_missing;  // what of them could not be read, and why
  EvaluationTotals totals;                    // of nothing, where it doesn't compile
  // Why it could be built and not measured: there is no device, no workload, ...
  std::optional<Error> trouble;
  int exit_code() const;
};

// Builds, and what compiles is judged as a submission: the verdicts are stored, and printed as they
// are made. Error: what it is to be judged on or compared with can't be found, or the target's
// compiler isn't there.
Result<SolutionProfile> profile_solution(const Context& context, const Solution& solution,
                                         const ProfileOptions& options);

// Of what is there, else of what is most likely to be.
std::string build_architecture(const Runner& runner);

}  // namespace fib
