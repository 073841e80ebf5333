#include <fib/plan.h>

static void plan_candidate(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("batch_size");
  fib::PlanPointer weight = problem.input("weight");
#if defined(BREAKS_ADDRESS) || defined(BREAKS_TRAP) || defined(BREAKS_ASSERT) || \
    defined(BREAKS_HANG)
#define BREAKS
  const fib::PlanPointer workspace = plan.workspace(4096);
  plan.memset(workspace, 4096);
#endif
#ifdef LARGE_WORKSPACE
  plan.workspace(int64_t{32} << 30);
#endif
#ifdef HUGE_WORKSPACE
  plan.workspace(int64_t{1} << 42);
#endif
#ifdef FEATURE_PREPARE
  const fib::PlanPointer prepared = plan.prepared(FIB_AXIS_hidden_size * 2);
  plan.launch("copy_weight").grid(1).block(256).arg(weight).arg(prepared).prepare();
  weight = prepared;
#endif
#ifdef FEATURE_TMA
  fib::PlanTensorMap map = {};
  map.base = problem.input("hidden_states");
  map.dtype = 9;  // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
  map.rank = 2;
  map.size[0] = FIB_AXIS_hidden_size;
  map.size[1] = (uint64_t)rows;
  map.stride_bytes[0] = FIB_AXIS_hidden_size * 2;
  map.box[0] = 256;
  map.box[1] = 1;
  map.element_stride[0] = map.element_stride[1] = 1;
  plan.launch("rms_tma").grid(rows).block(256).arg(map).arg(weight).arg(problem.output("output"))
      .arg((int32_t)rows);
#else
  {
    fib::Launch launch = plan.launch("rms");
    launch.grid(rows).block(256);
#ifdef FEATURE_CLUSTER
    launch.grid((rows + 1) / 2 * 2).cluster(2);
#endif
#ifdef FEATURE_SHARED
    launch.shared_bytes(SHARED_BYTES);
#endif
#ifdef FEATURE_COOPERATIVE
    launch.cooperative();
#endif
#ifdef FEATURE_PROGRAMMATIC
    launch.programmatic();
#endif
    launch.arg(problem.input("hidden_states")).arg(weight).arg(problem.output("output"))
        .arg((int32_t)rows);
  }
#endif
#ifdef BREAKS
#ifdef BREAKS_ADDRESS
  const int64_t nowhere = 0;
  plan.launch("breaks").grid(1).block(32).arg(nowhere);
#else
  plan.launch("breaks").grid(1).block(32).arg(workspace);
#endif
#ifdef BREAKS_IN_THE_MIDDLE
  // Enough to be still launching when the first one's fault arrives.
  for (int i = 0; i < 2000; ++i) plan.memset(workspace, 4096);
#endif
#endif
}
FIB_EXPORT_PLAN(plan_candidate)
