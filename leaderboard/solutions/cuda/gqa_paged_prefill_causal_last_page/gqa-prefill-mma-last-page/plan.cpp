#include <fib/plan/attention.h>

#include "shape.h"

static void plan_gqa_prefill(const fib::PlanProblem& problem, fib::Plan& plan) {
  const fib::PagedRequests<FIB_AXIS_page_size> requests(problem);
  if (!requests.is_known()) return;  // the plan has failed
  fib::plan_prefill<Prefill>(problem, plan, requests, [&](fib::Launch& launch) {
    launch.arg(problem.input("k_cache"))
        .arg(problem.input("v_cache"))
        .arg(problem.input("kv_indices"));
  });
}

FIB_EXPORT_PLAN(plan_gqa_prefill)
