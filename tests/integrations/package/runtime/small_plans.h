#pragma once

// Plans of the hand-written package's solutions, for cards that aren't there.

#include "harness/abi/fib/plan.h"

namespace fib::package {

void plan_plain(const FibPlanProblem* problem, const FibPlanSink* sink);
void plan_fast(const FibPlanProblem* problem, const FibPlanSink* sink);
void plan_packed(const FibPlanProblem* problem, const FibPlanSink* sink);
void plan_refuser(const FibPlanProblem* problem, const FibPlanSink* sink);

}  // namespace fib::package
