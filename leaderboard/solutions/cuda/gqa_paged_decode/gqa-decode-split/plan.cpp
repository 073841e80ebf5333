#include <fib/plan/attention.h>

#include "shape.h"

static void plan_gqa_decode(const fib::PlanProblem& problem, fib::Plan& plan) {
  fib::DecodePlanner<Decode, FIB_AXIS_page_size> planner(problem, plan);
  if (problem.has_host("kv_indptr")) {
    // Pages of one token: as if they lay end to end in kv_indices.
    planner.run(fib::RaggedRequests(problem));
  } else {
    planner.run_live(problem.input("kv_indptr"));  // for kv_last_page_len, which isn't read
  }
}

FIB_EXPORT_PLAN(plan_gqa_decode)
