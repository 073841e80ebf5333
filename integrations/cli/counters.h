#pragma once

// Hardware counters of a solution's kernels: `fib submit --quick` once more, under Nsight Compute.

#include <functional>

#include "harness/verdict.h"
#include "integrations/cli/submission.h"
#include "runners/cuda/profile_counters.h"

namespace fib {

struct CountersRequest {
  const Context& context;
  const Solution& solution;
  const SubmissionArgs& submission;      // that `verdict` came of
  const Verdict& verdict;                // passed; its kernels are looked for on its workload
  std::filesystem::path ncu;             // empty: it is searched
  std::function<bool()> cancelled = {};  // may be empty; Ctrl-C ends it too
};

// The verdicts that are made on the way are not kept. Error: why nothing could be read.
Result<CounterReport> read_counters(const CountersRequest& request);

}  // namespace fib
