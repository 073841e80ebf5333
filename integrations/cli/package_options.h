#pragma once

// Where commands that build kernel packages find what a package is made of.

#include "integrations/cli/context.h"
#include "integrations/package/export/build_package.h"

namespace fib {

// kEnvironment: the run-time library that packages contain is not beside this binary.
Result<PackageBuildOptions> package_build_options(const Context& context);

// Wraps a package in a Python wheel, which is put into `folder`; its path. kEnvironment: no
// python3.
Result<std::filesystem::path> build_wheel(const Context& context,
                                          const std::filesystem::path& package,
                                          const std::filesystem::path& folder);

}  // namespace fib
