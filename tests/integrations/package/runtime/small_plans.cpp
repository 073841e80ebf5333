#include "tests/integrations/package/runtime/small_plans.h"

#include "tests/integrations/package/runtime/small_package.h"

namespace fib::package {
namespace {

template <class Body>
void make(const FibPlanProblem* raw, const FibPlanSink* sink, const Body& body) {
  ++counters.plans;
  Plan plan(sink);
  const PlanProblem problem(raw, &plan);
  body(problem, plan);
  plan.finish();
}

// Of x: float32 [rows, 4].
PlanTensorMap map_of(const PlanProblem& problem) {
  PlanTensorMap map{};
  map.base = problem.input("x");
  map.dtype = 7;  // CU_TENSOR_MAP_DATA_TYPE_FLOAT32
  map.rank = 2;
  map.size[0] = kColumns;
  map.size[1] = static_cast<uint64_t>(problem.axis("rows"));
  map.stride_bytes[0] = kColumns * sizeof(float);
  map.box[0] = kColumns;
  map.box[1] = 1;
  map.element_stride[0] = map.element_stride[1] = 1;
  return map;
}

}  // namespace

void plan_plain(const FibPlanProblem* raw, const FibPlanSink* sink) {
  make(raw, sink, [](const PlanProblem& problem, Plan& plan) {
    const int64_t rows = problem.axis("rows");
    plan.memset(problem.output("y") + 16, 16);
    plan.launch("plain<4>")
        .grid(rows)
        .block(32)
        .programmatic()
        .arg(problem.input("x"))
        .arg(problem.input("weight"))
        .arg(problem.output("y"))
        .arg(static_cast<int32_t>(rows))
        .arg(static_cast<float>(problem.scalar("factor")));
  });
}

void plan_fast(const FibPlanProblem* raw, const FibPlanSink* sink) {
  make(raw, sink, [](const PlanProblem& problem, Plan& plan) {
    const int64_t rows = problem.axis("rows");
    if (rows == 7) plan.fail("seven rows");
    const PlanPointer workspace = plan.workspace(64 * rows);
    // As many blocks as the values say, or as could be.
    const int64_t blocks =
        problem.has_host("starts") ? problem.host_int32("starts")[rows] + 1 : 100 + rows;
    plan.launch("fast<4>")
        .grid(blocks)
        .block(64)
        .shared_bytes(rows == 8 ? 100 << 10 : 0)
        .arg(problem.input("x") + 16)
        .arg(problem.input("weight"))
        .arg(problem.output("y"))
        .arg(workspace)
        .arg(static_cast<float>(problem.scalar("factor")))
        .arg(static_cast<int32_t>(rows));
  });
}

void plan_packed(const FibPlanProblem* raw, const FibPlanSink* sink) {
  make(raw, sink, [](const PlanProblem& problem, Plan& plan) {
    const PlanPointer prepared = plan.prepared(64);
    plan.launch("lay_out").prepare().arg(problem.input("weight")).arg(prepared);
    plan.launch("packed<4>")
        .grid(problem.axis("rows"))
        .arg(map_of(problem))
        .arg(prepared + 32)
        .arg(problem.output("y"))
        .arg(static_cast<float>(problem.scalar("factor")));
  });
}

void plan_refuser(const FibPlanProblem* raw, const FibPlanSink* sink) {
  make(raw, sink, [](const PlanProblem&, Plan& plan) { plan.fail("I never work"); });
}

}  // namespace fib::package
