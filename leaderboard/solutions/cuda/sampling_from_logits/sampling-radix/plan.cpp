#include <fib/plan.h>

#include "shape.h"

static void plan_sampling(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("num_tokens");
  if (rows == 0) return;
  if (rows > 65535) return plan.fail("more than 65535 rows");
  // Few rows: several blocks each, while every thread still has a few accesses.
  int64_t blocks = 1;
  while (blocks < 8 && rows * blocks * 2 <= problem.device().multiprocessors &&
         kVectors >= blocks * 2 * kThreads) {
    blocks *= 2;
  }
  plan.launch("sample")
      .grid(blocks, rows)
      .block(kThreads)
      .cluster(blocks)
      .programmatic()
      .arg(problem.input("logits"))
      .arg(problem.input("temperature"))
      .arg(problem.input("top_k"))
      .arg(problem.input("top_p"))
      .arg(problem.input("min_p"))
      .arg(problem.input("uniform"))
      .arg(problem.output("token_ids"));
}
FIB_EXPORT_PLAN(plan_sampling)
