#include <fib/plan.h>

#include "shape.h"

static void plan_fused_add_rmsnorm(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("batch_size");
  if (rows == 0) return;
  const bool is_many = rows >= 4 * int64_t{problem.device().multiprocessors};
  const int threads = is_many ? kManyRows : kFewRows;
  const int rows_a_block = rows_per_block(threads);
  plan.launch(is_many ? "fused_add_rmsnorm<kManyRows>" : "fused_add_rmsnorm<kFewRows>")
      .grid((rows + rows_a_block - 1) / rows_a_block)
      .block(threads, rows_a_block)
      .programmatic()
      .arg(problem.input("hidden_states"))
      .arg(problem.input("residual"))
      .arg(problem.input("weight"))
      .arg(problem.output("output"))
      .arg(problem.output("residual_out"))
      .arg(static_cast<int32_t>(rows));
}
FIB_EXPORT_PLAN(plan_fused_add_rmsnorm)
