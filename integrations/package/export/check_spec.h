#pragma once

#include "integrations/package/export/package_spec.h"

namespace fib {

// Whether a package can be built of it, before anything is: names, licences, indices, ranges, that
// buckets don't overlap, that whatever has a winner on a target has a fallback there. Errors name
// the signature, the field and what to do.
Result<void> check_package_spec(const PackageSpec& spec);

// "cuda" or "cpu"; only of solutions that passed the check.
std::string solution_target(const Solution& solution);
std::string solution_license(const Solution& solution);

}  // namespace fib
