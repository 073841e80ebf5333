#include <fib/plan.h>

static void plan_rmsnorm(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("batch_size");
  if (rows == 0) return;
  plan.launch("rmsnorm_plain")
      .grid(rows)
      .block(256)
      .arg(problem.input("hidden_states"))
      .arg(problem.input("weight"))
      .arg(problem.output("output"));
}
FIB_EXPORT_PLAN(plan_rmsnorm)
