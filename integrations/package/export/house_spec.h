#pragma once

// The package of the house's solutions alone: what an engine's default kernels are.

#include "integrations/package/dispatch.h"
#include "integrations/package/export/package_spec.h"
#include "integrations/package/house_solutions.h"
#include "signatures/catalog.h"

namespace fib {

// Each requested signature once, served by the house's solutions in the order in which they are
// preferred; no winners. The caller names version, architectures and levels. Errors: an unknown
// signature or parameter, a signature that the house has no solution for.
Result<PackageSpec> house_package_spec(const std::vector<SignatureRequest>& requests,
                                       const Catalog& catalog, const HouseSolutions& house);

}  // namespace fib
