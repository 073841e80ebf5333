#pragma once

// What differs between targets behind a dispatch: compiling a solution, and making a kernel of it.

#include "harness/runner.h"
#include "integrations/package/dispatch.h"

namespace fib {

class KernelTarget {
 public:
  virtual ~KernelTarget() = default;

  // Into the build cache. Thread-safe. A solution that doesn't compile is an outcome, not an Error.
  virtual Result<BuildOutcome> build(const Solution& solution, const Signature& signature) = 0;

  // From the build cache, on the device's thread.
  virtual Result<std::unique_ptr<Kernel>> load(const Artifact& artifact, SignaturePtr signature,
                                               std::string solution) = 0;
};

// The kernels of a target share a workspace and live no longer than it; it lives no longer than
// the device.
Result<std::unique_ptr<KernelTarget>> open_cpu_kernels(ServingDevice& device,
                                                       const HouseDispatchOptions& options);
// kEnvironment where NVRTC, the host compiler or CUDA's headers at build time are missing.
Result<std::unique_ptr<KernelTarget>> open_cuda_kernels(ServingDevice& device,
                                                        const HouseDispatchOptions& options);

}  // namespace fib
