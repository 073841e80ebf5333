#pragma once

// Reading and checking a solution's manifest. Private to signatures/.

#include "signatures/solution_folder.h"

namespace fib {

// The fields target, entry, plan, kernels, flags, license, tunables, constraints and variations of
// `view`, checked against the paths of the sources. Other keys are the caller's business.
Result<SolutionManifest> read_manifest_fields(const JsonView& view,
                                              const std::vector<std::string>& sources);

// What of a manifest travels under a Solution's `fib`.
Json manifest_to_json(const SolutionManifest& manifest);

}  // namespace fib
