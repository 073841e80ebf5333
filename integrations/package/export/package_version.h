#pragma once

#include <string>

#include "integrations/package/export/compile_package.h"

namespace fib {

// Of a package that was given none: "2026.11.22+3f9a12c0", the day of the newest measurement that
// it was chosen by and the beginning of a hash of what is in it; the fib's own version instead of
// the day where nothing was measured. The same package has the same version on any day, another one
// of that day another; Python knows such versions (PEP 440). `manifest`: with an empty version.
Result<std::string> package_version(const CompiledPackage& package, const std::string& manifest,
                                    const PackageBuildOptions& options);

}  // namespace fib
