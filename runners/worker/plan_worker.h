#pragma once

// The process in which plan.cpp runs: no device, no files, no network, no clock of its own. The
// parent sends problems, and gets launch plans or the reason why there is none.

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runners/launch/launch_plan.h"
#include "runners/worker/process.h"
#include "signatures/problem.h"
#include "workloads/inputs.h"

namespace fib {

// A FibPlanProblem that owns what it points to.
struct PlanTensorValue {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  bool is_host_scalar = false;
  double scalar = 0.0;
  InputBytes host_data;  // null unless the input is host-visible
};
struct PlanProblemValue {
  std::map<std::string, int64_t> axes;
  std::vector<PlanTensorValue> inputs, outputs;  // signature order
  FibPlanDevice device{};

  // Equal problems have equal keys: for caches of plans.
  std::string key() const;
};

// The problem as plan.cpp sees it: shapes, host scalars, and host-visible integers of `inputs`.
Result<PlanProblemValue> plan_problem(const Problem& problem, const InputSet& inputs,
                                      const FibPlanDevice& device);

struct PlanProcessOptions {
  std::filesystem::path worker_executable;  // `fib internal-worker plan`
  std::filesystem::path object;             // plan.cpp compiled: exports fib_plan_entry
};

class PlanProcess {
 public:
  static Result<PlanProcess> start(PlanProcessOptions options);

  // Every error's `where` is "plan.cpp": its own refusal (kInvalidInput), a crash (kWorkerLost), a
  // missed deadline (kTimeout), two different plans for one problem (kInvalidInput). A process that
  // was lost is replaced for the next call. The plan is not checked yet: see check_plan.
  Result<LaunchPlan> plan(const PlanProblemValue& problem, Deadline deadline);

 private:
  explicit PlanProcess(PlanProcessOptions options) : options_(std::move(options)) {}
  Result<void> revive();
  PlanProcessOptions options_;
  std::unique_ptr<WorkerProcess> worker_;
};

// Worker kind "plan"; its argument is the object.
int run_plan_worker(Channel channel, std::span<char*> arguments);

}  // namespace fib
