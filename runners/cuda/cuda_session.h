#pragma once

// One device: its worker process, and the race of contenders over a problem. All decisions (order,
// addresses' seeds, when to stop, deadlines) are made here; the worker carries them out.

#include <functional>
#include <memory>

#include "harness/runner.h"
#include "runners/cuda/cuda_build.h"
#include "runners/cuda/device_protocol.h"
#include "runners/launch/launch_plan.h"
#include "runners/worker/process.h"

namespace fib {

struct CudaSessionOptions {
  std::filesystem::path worker_executable;
  std::vector<std::pair<std::string, std::string>> worker_environment;
  DeviceInfo device;
  FibPlanDevice plan_device{};
  std::string harness_cubin;
  std::string nvml_library;
  std::string cupti_library;       // empty: CUDA events,
  std::string cupti_reason;        // because of this
  std::unique_ptr<WorkerProcess> worker;  // to begin with; null: one is started
};

struct PlanRequest {
  const Artifact& artifact;
  const CudaBinary& binary;
  const Problem& problem;
  const InputSet& inputs;          // for host-visible integers and host scalars
  const FibPlanDevice& device;
  PlanLimits limits;
};
// Computes and checks a plan; a Fault says why there is none.
using CudaPlanner = std::function<tl::expected<LaunchPlan, Fault>(const PlanRequest&)>;

Result<std::unique_ptr<Session>> open_cuda_session(CudaSessionOptions options, CudaPlanner planner);

// The host's side of a problem: tensors, value rules, explicit bytes.
struct PosedProblem {
  DeviceProblem device;
  std::vector<InputBytes> originals;
};
PosedProblem pose_problem(const MeasureRequest& request, const std::vector<LaunchPlan>& plans);

// harness/compare.h's statistics from the device's.
ErrorStats error_stats_of(const DeviceErrorStats& stats);

}  // namespace fib
