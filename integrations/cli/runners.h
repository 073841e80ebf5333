#pragma once

// The runners that this binary has, in one visible list.

#include <memory>
#include <vector>

#include "harness/runner.h"
#include "integrations/cli/context.h"
#include "runners/cuda/cuda_runner.h"

namespace fib {

CudaRunnerOptions cuda_options(const Context& context);
// `max_compiles`: device compilers at a time; a search that tries many candidates wants more.
std::vector<std::unique_ptr<Runner>> make_runners(const Context& context, int max_compiles = 2);

// The runner of a target, if it is available on this machine; else kEnvironment with its reason
// and remedy, or kInvalidInput with the targets there are.
Result<Runner*> find_runner(const std::vector<std::unique_ptr<Runner>>& runners,
                            std::string_view target);

// The devices that "0", "0,2" or "all" names. Error: one that isn't there, with those that are.
Result<std::vector<DeviceInfo>> parse_devices(const Runner& runner, std::string_view text);

}  // namespace fib
