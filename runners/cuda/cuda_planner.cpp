#include "runners/cuda/cuda_planner.h"

#include <map>

#include "runners/worker/plan_worker.h"

namespace fib {
namespace {

constexpr double kPlanSeconds = 10.0;

class Planner {
 public:
  explicit Planner(RunnerOptions options) : options_(std::move(options)) {}

  tl::expected<LaunchPlan, Fault> plan(const PlanRequest& request) {
    auto planned = compute(request);
    if (!planned) {
      return tl::make_unexpected(Fault{FaultKind::kPlanFailed, planned.error().to_string()});
    }
    if (auto checked = check_plan(*planned, request.limits); !checked) {
      return tl::make_unexpected(Fault{FaultKind::kPlanTooMuch, checked.error().to_string()});
    }
    return *std::move(planned);
  }

 private:
  Result<LaunchPlan> compute(const PlanRequest& request) {
    const PlanProblemValue problem =
        FIB_TRY(plan_problem(request.problem, request.inputs, request.device));
    const std::pair key{request.artifact.build_key, problem.key()};
    if (const auto known = plans_.find(key); known != plans_.end()) return known->second;
    auto process = processes_.find(request.artifact.build_key);
    if (process == processes_.end()) {
      if (processes_.size() >= kMaxProcesses) processes_.erase(processes_.begin());
      auto started = FIB_TRY(PlanProcess::start(
          {.worker_executable = options_.worker_executable, .object = request.binary.plan}));
      process = processes_.emplace(request.artifact.build_key, std::move(started)).first;
    }
    LaunchPlan plan = FIB_TRY(process->second.plan(problem, deadline_in(kPlanSeconds)));
    plans_.emplace(key, plan);
    return plan;
  }

  static constexpr size_t kMaxProcesses = 4;  // contenders come and go

  RunnerOptions options_;
  std::map<std::string, PlanProcess> processes_;  // by build key
  std::map<std::pair<std::string, std::string>, LaunchPlan> plans_;
};

}  // namespace

CudaPlanner make_cuda_planner(const RunnerOptions& options) {
  auto planner = std::make_shared<Planner>(options);
  return [planner](const PlanRequest& request) { return planner->plan(request); };
}

}  // namespace fib
