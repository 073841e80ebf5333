#include <fib/plan.h>

#include "shape.h"

static void plan_rmsnorm(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("batch_size");
  if (rows == 0) return;
  const bool is_many = rows >= 4 * int64_t{problem.device().multiprocessors};
  const int threads = is_many ? kManyRows : kFewRows;
  const int rows_a_block = rows_per_block(threads);
  plan.launch(is_many ? "rmsnorm<kManyRows>" : "rmsnorm<kFewRows>")
      .grid((rows + rows_a_block - 1) / rows_a_block)
      .block(threads, rows_a_block)
      .arg(problem.input("hidden_states"))
      .arg(problem.input("weight"))
      .arg(problem.output("output"))
      .arg(static_cast<int32_t>(rows));
}
FIB_EXPORT_PLAN(plan_rmsnorm)
