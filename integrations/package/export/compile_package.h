#pragma once

// Everything of a package that a compiler makes, in parallel.

#include <map>

#include "integrations/package/export/build_package.h"
#include "integrations/package/export/device_code.h"
#include "integrations/package/export/solution_objects.h"

namespace fib {

struct CompiledSolution {
  std::optional<PlanObject> plan;    // of a cuda solution; then there is device code as well
  std::vector<DeviceCode> binaries;  // as PackageSpec::cuda_architectures
  std::vector<CpuObject> cpu;        // best level first
};

struct CompiledPackage {
  // What is left of the specification: solutions without code are gone from it, with their buckets.
  PackageSpec spec;
  std::vector<std::vector<CompiledSolution>> solutions;  // as spec.signatures[i].solutions
  std::vector<std::string> notes;                        // what was left out, and why
  std::map<std::string, std::string> toolchain;          // "compiler", "nvrtc": their versions
};

// The specification must have passed check_package_spec(). kInvalidInput: for an architecture or
// level, no fallback of a signature builds.
Result<CompiledPackage> compile_package(const PackageSpec& spec, const SolutionObjects& objects,
                                        const PackageBuildOptions& options,
                                        const PackageProgress& progress);

}  // namespace fib
