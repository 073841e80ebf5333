#include <fib/plan/attention.h>

#include "shape.h"

static void plan_gqa_prefill(const fib::PlanProblem& problem, fib::Plan& plan) {
  const fib::RaggedRequests requests(problem);
  if (!requests.is_known()) return;  // the plan has failed
  fib::plan_prefill<Prefill>(problem, plan, requests, [&](fib::Launch& launch) {
    launch.arg(problem.input("k")).arg(problem.input("v"));
  });
}

FIB_EXPORT_PLAN(plan_gqa_prefill)
