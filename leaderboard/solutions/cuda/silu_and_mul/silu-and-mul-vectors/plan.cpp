#include <fib/plan.h>

#include "shape.h"

static void plan_silu_and_mul(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t tokens = problem.axis("num_tokens");
  if (tokens == 0) return;
  plan.launch("silu_and_mul")
      .grid((tokens * kVectors + kThreads - 1) / kThreads)
      .block(kThreads)
      .programmatic()
      .arg(problem.input("gate_up"))
      .arg(problem.output("output"))
      .arg(static_cast<int32_t>(tokens));
}
FIB_EXPORT_PLAN(plan_silu_and_mul)
