#pragma once

// A solution by itself in a session: checked, timed in all modes, and judged.

#include "harness/posed_problem.h"
#include "harness/verdict.h"

namespace fib {

struct SoloRequest {
  const Solution& solution;
  const ArtifactPtr& artifact;
  const PosedProblem& posed;
  ExpectedSource expected;
  const MeasureConfig& config;
};

// An Error says that the session couldn't measure at all; what the solution does wrong is its
// verdict. The configuration's key and the problem's notes are left to the caller.
Result<Verdict> measure_alone(Session& session, const SoloRequest& request);

}  // namespace fib
