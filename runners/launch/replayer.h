#pragma once

// Replays launch plans on a stream. Used as it is by the device worker, exported packages and the
// serving engine. Loading and binding allocate host memory; replaying allocates nothing,
// synchronises nothing and may be captured into a CUDA graph.

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runners/launch/cuda_driver.h"
#include "runners/launch/launch_plan.h"
#include "runners/launch/packed_step.h"

namespace fib {

// Name expression of the manifest -> symbol in the device binary.
using LoweredNames = std::vector<std::pair<std::string, std::string>>;

// A device binary in the current context. Unloaded with the last owner.
class LoadedKernels {
 public:
  static Result<LoadedKernels> load(CudaDriverPtr driver, std::span<const std::byte> cubin,
                                    const LoweredNames& names);
  LoadedKernels(LoadedKernels&&) noexcept;
  LoadedKernels& operator=(LoadedKernels&&) noexcept;
  ~LoadedKernels();

  CUfunction find(std::string_view name) const;  // nullptr: not among the names
  // Opts kernels in to the dynamic shared memory and cluster sizes that a plan asks for. Errors
  // name the launch.
  Result<void> allow(const LaunchPlan& plan) const;
  const CudaDriver& driver() const { return *driver_; }

 private:
  LoadedKernels() = default;
  CudaDriverPtr driver_;
  CUmodule module_ = nullptr;
  std::map<std::string, CUfunction, std::less<>> functions_;
};

struct PlanAddresses {
  std::vector<CUdeviceptr> inputs, outputs;  // by index; 0 for host scalars
  CUdeviceptr workspace = 0, prepared = 0;
};

// A plan with its addresses put in: arguments packed, tensor maps encoded.
class BoundPlan {
 public:
  // `kernels` must outlive the bound plan.
  static Result<BoundPlan> bind(const LoadedKernels& kernels, const LaunchPlan& plan,
                                const PlanAddresses& addresses);

  // The call, in order. An error names the step: "launch 1, kernel 'x<4>': CUDA_ERROR_...".
  Result<void> replay(CUstream stream) const { return run(call_, stream); }
  // The steps that lay weights out once.
  Result<void> prepare(CUstream stream) const { return run(prepare_, stream); }
  bool has_prepare() const { return !prepare_.empty(); }

  size_t num_steps() const { return call_.size(); }
  Result<void> replay_step(size_t step, CUstream stream) const;
  std::string step_name(size_t step) const { return call_[step].name(); }

 private:
  Result<void> run(const std::vector<PackedStep>& steps, CUstream stream) const;

  const CudaDriver* driver_ = nullptr;
  std::vector<PackedStep> call_, prepare_;
};

}  // namespace fib
