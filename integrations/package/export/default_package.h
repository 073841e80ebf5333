#pragma once

// The kernels of an engine that was told of none: a package of the house's solutions for just the
// signatures of a model, built when it is first needed.

#include "integrations/package/dispatch.h"
#include "integrations/package/export/build_package.h"
#include "integrations/package/package_library.h"

namespace fib {

struct DefaultPackageOptions {
  std::filesystem::path definitions;           // signatures/definitions
  std::filesystem::path solutions;             // leaderboard/solutions
  std::filesystem::path folder;                // where packages are kept, one a folder
  std::vector<std::filesystem::path> shipped;  // the same, looked into before; never written to
  PackageBuildOptions build;
};

struct PackageTarget {
  std::string target;        // "cpu", "cuda"
  std::string architecture;  // "native", "sm_90a"
};
PackageTarget package_target(const ServingDeviceInfo& device);

// A package's name is a hash of all that can change it: another compiler, processor, solution or
// signature makes another package. One that is damaged is built anew. Errors: no compiler, a
// signature or parameter that doesn't exist, a solution that doesn't build.
Result<PackageLibraryPtr> open_default_package(const PackageTarget& target,
                                               const std::vector<SignatureRequest>& requests,
                                               const DefaultPackageOptions& options,
                                               const PackageProgress& progress);

}  // namespace fib
