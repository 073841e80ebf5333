#include <fib/plan.h>

#include "shape.h"

static void plan_argmax(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("num_tokens");
  if (rows == 0) return;
  if (rows > 65535) return plan.fail("more than 65535 rows");
  // Enough blocks to draw the bandwidth, while each still has a few accesses a thread.
  int64_t blocks = 1;
  while (blocks < 8 && rows * blocks * 2 <= problem.device().multiprocessors &&
         kVectors >= blocks * 2 * kThreads) {
    blocks *= 2;
  }
  plan.launch("argmax")
      .grid(blocks, rows)
      .block(kThreads)
      .cluster(blocks)
      .programmatic()
      .arg(problem.input("logits"))
      .arg(problem.output("token_ids"));
}
FIB_EXPORT_PLAN(plan_argmax)
