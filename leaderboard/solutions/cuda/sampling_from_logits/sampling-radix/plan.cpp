#include <fib/plan.h>

#include "shape.h"

static void plan_sampling(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("num_tokens");
  if (rows == 0) return;
  if (rows > 65535) return plan.fail("more than 65535 rows");
  plan.launch("sample")
      .grid(kBlocks, rows)
      .block(kThreads)
      .cluster(kBlocks)
      .shared_bytes(kSharedBytes)
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
