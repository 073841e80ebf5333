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
  const InputSet& inputs;            // for the cost model's integer inputs
};

Verdict judge(const JudgeInput& input);
Verdict compile_error_verdict(const Problem& problem, const Solution& solution,
                              const DeviceInfo& device, const BuildOutcome& build);

// Bytes and operations of this input over the device's ceilings.
Roofline roofline_of(const Problem& problem, const InputSet& inputs, const DeviceInfo& device);

}  // namespace fib
