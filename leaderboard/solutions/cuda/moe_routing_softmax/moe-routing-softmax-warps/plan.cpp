#include <fib/plan.h>

#include "shape.h"

static void plan_routing(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t tokens = problem.axis("num_tokens");
  if (tokens == 0) return;
  plan.launch("route")
      .grid((tokens + kTokensPerBlock - 1) / kTokensPerBlock)
      .block(32 * kTokensPerBlock)
      .programmatic()
      .arg(problem.input("logits"))
      .arg(problem.output("topk_weights"))
      .arg(problem.output("topk_ids"))
      .arg(static_cast<int32_t>(tokens));
}
FIB_EXPORT_PLAN(plan_routing)
