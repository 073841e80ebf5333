#include "harness/posed_problem.h"

#include <algorithm>

#include "signatures/base/hash.h"

namespace fib {
namespace {

// With tens of millions of elements in an output, one value set alone holds more values than a
// mistake can hide in; a second one still shows what is remembered between calls.
constexpr int64_t kBulkElements = int64_t{1} << 24;
constexpr int kBulkValueSets = 2;

constexpr int kSessionSeed = -1;  // in place of a value set's number

int value_sets_of(const Problem& problem, const MeasureConfig& config) {
  int64_t elements = 0;
  for (const TensorDesc& output : problem.outputs) elements += output.num_elements();
  return elements < kBulkElements ? config.value_sets : std::min(config.value_sets, kBulkValueSets);
}

uint64_t value_seed(uint64_t secret, const Problem& problem, int value_set) {
  return Hasher()
      .add("value-set")
      .add(secret)
      .add(problem.signature->name)
      .add(workload_id(problem.workload))
      .add(static_cast<uint64_t>(value_set))
      .u64();
}

}  // namespace

Result<std::shared_ptr<const PosedProblem>> pose(const Problem& problem,
                                                 const MeasureConfig& config) {
  InputPlan plan = FIB_TRY(plan_inputs(problem));
  auto posed = std::make_shared<PosedProblem>();
  for (int set = 0; set < value_sets_of(problem, config); ++set) {
    posed->value_sets.push_back(with_seed(plan, value_seed(config.seed, problem, set)));
  }
  posed->problem = std::move(plan.problem);
  posed->notes = std::move(plan.notes);
  posed->session_seed = value_seed(config.seed, posed->problem, kSessionSeed);
  return posed;
}

}  // namespace fib
