#include <fib/plan/product.h>

#include "shape.h"

static void plan_gemm(const fib::PlanProblem& problem, fib::Plan& plan) {
  fib::plan_product<Gemm>(problem, plan);
}

FIB_EXPORT_PLAN(plan_gemm)
