#pragma once

// From a signature to the kernel that serves it. Everything the serving path computes goes through
// here, so here is where it is measured and captured: taps see each call.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/package/kernel.h"
#include "runners/cuda/libraries.h"

namespace fib {

// Sees every call after it was enqueued, also those inside graphs, each time a graph is launched.
// Host copies of inputs then hold the values of this call, or of this launch.
class CallTap {
 public:
  virtual ~CallTap() = default;
  // A call within Dispatch::time_calls, some time after its on_call; host copies are still there.
  virtual void on_device_time(const Kernel&, const KernelCall&, double /*device_ns*/) {}
  // `host_ns`: what enqueuing took; on the cpu target that is the call itself.
  virtual void on_call(const Kernel& kernel, const KernelCall& call, double host_ns) = 0;
  // Whether it wants to see what a step computes for itself on a card (Operand::host_at_end). Then
  // on_call of the calls that have such inputs comes when the step is done, with host copies.
  virtual bool wants_computed() const { return false; }
};

struct SignatureRequest {
  std::string name;                          // "rmsnorm_h2048"
  std::map<std::string, double> parameters;  // that differ from the signature's own, such as eps
  std::string key() const;                   // "rmsnorm_h2048 eps=1e-05"
};

class Dispatch {
 public:
  virtual ~Dispatch() = default;
  virtual ServingDevice& device() = 0;

  // The kernel for a signature; the same one for the same request. Owned by the dispatch. Errors:
  // no such signature, no solution for it on this target, a solution that doesn't build.
  virtual Result<Kernel*> resolve(const SignatureRequest& request) = 0;

  // Builds what the requests need beforehand, in parallel; `progress(done, total, name)`.
  using Progress = std::function<void(size_t done, size_t total, std::string_view name)>;
  virtual Result<void> prefetch(const std::vector<SignatureRequest>& requests,
                                const Progress& progress) = 0;

  // A tap must outlive the dispatch or be removed first.
  virtual void add_tap(CallTap& tap) = 0;
  virtual void remove_tap(CallTap& tap) = 0;

  // Captures what `record` enqueues; launching the graph shows its calls to the taps.
  virtual Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) = 0;

  // Runs `work`, which ends with ServingDevice::synchronize(), and tells the taps what each of its
  // calls took on the device. A graph has its calls timed if it was captured within time_calls, too.
  // A dispatch that can't time calls just runs it.
  virtual Result<void> time_calls(const std::function<Result<void>()>& work) { return work(); }

  // Runs a step: `work` enqueues it and ends with ServingDevice::synchronize(). Before that it
  // brings what the step computed to Operand::host_at_end, if wants_computed() (some tap does).
  virtual Result<void> run_step(const std::function<Result<void>()>& work) { return work(); }
  virtual bool wants_computed() const { return false; }

  // Kernels resolved so far, with their solutions.
  virtual std::vector<const Kernel*> kernels() const = 0;

  // Kernels may be exchanged for others (SwappableDispatch). What follows is called by who runs a
  // model's steps, on the device's thread; a dispatch whose kernels stay does nothing.

  // Between steps, and when there are none: a piece of the work. True: there is more.
  virtual bool tend() { return false; }
  // Before each step. Kernels can only be compared in steps that are made call by call.
  enum class StepManner { kAny, kCallByCall };
  virtual StepManner begin_step() { return StepManner::kAny; }
  // After a step that failed. True: kernels that may be to blame no longer serve, and the step is
  // worth another try.
  virtual bool take_back(const Error& error) {
    static_cast<void>(error);
    return false;
  }
  // Graphs captured under another number hold kernels that no longer serve.
  virtual uint64_t generation() const { return 0; }
};

// Kernels straight from the house's solutions, built on first use. (Packages of winners come
// behind the same seam.)
struct HouseDispatchOptions {
  std::filesystem::path definitions;  // signatures/definitions
  std::filesystem::path solutions;    // leaderboard/solutions
  std::filesystem::path abi;          // harness/abi
  std::filesystem::path device_sources;   // runners/cuda/device
  std::filesystem::path cache_folder;
  std::filesystem::path worker_executable;  // the fib binary
  CudaSearch cuda;                    // where the CUDA libraries are searched
};

// The cpu, or the card with this index. kEnvironment says what is missing. `step_timeout_s`: the
// deadline of synchronize().
Result<std::unique_ptr<ServingDevice>> open_cpu_device(int threads);
Result<std::unique_ptr<ServingDevice>> open_cuda_device(
    int index, double step_timeout_s = kDefaultStepTimeoutS);
Result<std::unique_ptr<Dispatch>> open_house_dispatch(ServingDevice& device,
                                                      HouseDispatchOptions options);

}  // namespace fib
