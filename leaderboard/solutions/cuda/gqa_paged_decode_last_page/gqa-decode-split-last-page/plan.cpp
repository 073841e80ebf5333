#include <fib/plan/attention.h>

#include "shape.h"

static void plan_gqa_decode(const fib::PlanProblem& problem, fib::Plan& plan) {
  fib::DecodePlanner<Decode, FIB_AXIS_page_size> planner(problem, plan);
  if (problem.has_host("kv_indptr") && problem.has_host("kv_last_page_len")) {
    planner.run(fib::PagedRequests<FIB_AXIS_page_size>(problem));
  } else {
    planner.run_live(problem.input("kv_last_page_len"));
  }
}

FIB_EXPORT_PLAN(plan_gqa_decode)
