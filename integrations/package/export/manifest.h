#pragma once

#include <string>
#include <vector>

#include "integrations/package/export/compile_package.h"
#include "runners/worker/header_digests.h"
#include "signatures/base/json.h"

namespace fib {

// A solution's sources in the package: below share/fib_kernels/.
struct SolutionFolder {
  std::string name;  // "solutions/rmsnorm-rows"
  const Solution* solution;
  HeaderDigests headers = {};  // fib's, that the sources include
};

// Each solution of the package once. Two of one name get part of their keys into their folders'.
std::vector<SolutionFolder> solution_folders(const PackageSpec& spec);

// manifest.json: docs/package.md describes it.
Json package_manifest(const CompiledPackage& package, const std::vector<SolutionFolder>& folders,
                      const std::vector<std::string>& tvm_ffi_names,
                      const std::string& fib_version);

// Which licence covers what, for people: share/fib_kernels/LICENSES.
std::string license_notes(const PackageSpec& spec, const std::vector<SolutionFolder>& folders);

}  // namespace fib
