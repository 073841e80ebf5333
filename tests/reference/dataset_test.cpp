// Small rows of the public dataset through plan and reference, all the way.

#include <gtest/gtest.h>

#include <cmath>

#include "signatures/catalog.h"
#include "tests/reference/error_size.h"
#include "tests/workloads/inputs_fixture.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

// Elements that a row's reference reads or multiplies, roughly: small ones only are run.
bool is_small(const Problem& problem) {
  double elements = 1;
  for (const auto& [axis, value] : problem.axes) {
    if (axis == "total_q" || axis == "num_kv_indices" || axis == "M" || axis == "batch_size" ||
        axis == "seq_len" || axis == "total_kv") {
      elements *= static_cast<double>(std::max<int64_t>(1, value));
    }
  }
  return elements <= 600;
}

TEST(PublicDataset, SmallRowsRun) {
  const fs::path root = fs::path(FIB_SOURCE_DIR) / "../shared/data/flashinfer-trace/main";
  if (!fs::exists(root)) GTEST_SKIP() << root << " is not there";
  Catalog catalog = *Catalog::builtin(fs::path(FIB_SOURCE_DIR) / "signatures/definitions");
  ASSERT_TRUE(catalog.add_dataset(root));
  const auto sets = read_workloads(root);
  ASSERT_TRUE(sets) << sets.error().to_string();
  int run = 0;
  for (const WorkloadSet& set : *sets) {
    const SignaturePtr signature = *catalog.find(set.signature);
    // Wide experts and matrices are other tests' business.
    if (signature->op_type == "moe" || signature->op_type == "gemm") continue;
    int of_this = 0;
    for (const Workload& workload : set.workloads) {
      const auto problem = fib::bind(signature, workload);
      if (!problem || !is_small(*problem) || of_this == 3) continue;
      const auto plan = plan_inputs(*problem);
      ASSERT_TRUE(plan) << plan.error().to_string();
      const InputSet inputs = with_seed(*plan, 77);
      const auto exact = run_reference(plan->problem, inputs, Precision::kExact);
      ASSERT_TRUE(exact) << set.signature << ": " << exact.error().to_string();
      const auto honest = run_reference(plan->problem, inputs, Precision::kHonest);
      ASSERT_TRUE(honest);
      const DType dtype = plan->problem.outputs[0].dtype;
      EXPECT_LT(relative_rms((*honest)[0], (*exact)[0]), unit_roundoff(dtype)) << set.signature;
      ++of_this;
      ++run;
    }
  }
  EXPECT_GT(run, 30);
}

}  // namespace
}  // namespace fib
