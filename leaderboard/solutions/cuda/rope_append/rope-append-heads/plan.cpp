#include <fib/plan.h>

#include "shape.h"

static void plan_rope_append(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t tokens = problem.axis("num_tokens");
  if (tokens == 0) return;
  if (tokens * kHeads > INT32_MAX) return plan.fail("more than 2^31 heads");
  plan.launch("rope_append")
      .grid((tokens * kHeads + kHeadsPerBlock - 1) / kHeadsPerBlock)
      .block(kThreads)
      .programmatic()
      .arg(problem.input("qkv"))
      .arg(problem.input("cos_sin"))
      .arg(problem.input("positions"))
      .arg(problem.input("slots"))
      .arg(problem.output("q"))
      .arg(problem.output("k_cache_out"))
      .arg(problem.output("v_cache_out"))
      .arg(static_cast<int32_t>(tokens));
}
FIB_EXPORT_PLAN(plan_rope_append)
