#pragma once

// The kinds of device that a package may be opened on.

#include <memory>

#include "integrations/package/runtime/solution.h"

namespace fib::package {

Result<std::unique_ptr<Target>> open_cpu_target(const fib_kernels_device_options& options);

// kUnsupported where the package was built without code for cards.
Result<std::unique_ptr<Target>> open_cuda_target(const fib_kernels_device_options& options);

// Whether a processor with these flags (runners/cpu/host_identity.h) runs the code.
bool runs_on(const CpuCode& code, std::string_view flags);

}  // namespace fib::package
