#include <fib/plan.h>

#include "shape.h"

static void plan_embedding(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t tokens = problem.axis("num_tokens");
  if (tokens == 0) return;
  plan.launch("embed")
      .grid((tokens * kVectors + kThreads - 1) / kThreads)
      .block(kThreads)
      .programmatic()
      .arg(problem.input("token_ids"))
      .arg(problem.input("weight"))
      .arg(problem.output("output"))
      .arg(static_cast<int32_t>(tokens));
}
FIB_EXPORT_PLAN(plan_embedding)
