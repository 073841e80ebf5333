#pragma once

// From outcomes to verdicts: the only place where a bound is applied.

#include "harness/verdict.h"

namespace fib {

struct JudgeInput {
  const Problem& problem;
  const Solution& solution;
  const Artifact& artifact;
  const DeviceInfo& device;
  const ContenderOutcome& outcome;
  const InputSet& inputs;         // any value set: the cost model reads its integer inputs
  const Expected* expected;       // of value set 0, for the honest error; null if never computed
};

Verdict judge(const JudgeInput& input);
Verdict compile_error_verdict(const Problem& problem, const Solution& solution,
                              const DeviceInfo& device, const BuildOutcome& build);

}  // namespace fib
