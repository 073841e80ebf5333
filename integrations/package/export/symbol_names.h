#pragma once

#include <string>
#include <vector>

#include "integrations/package/export/package_spec.h"

namespace fib {

// By signature, what follows "__tvm_ffi_": the signature's name, what can't stand in a C identifier
// an underscore, and with parameters that aren't its own "_<parameter>_<value>" of each. No two are
// alike.
std::vector<std::string> tvm_ffi_names(const PackageSpec& spec);

}  // namespace fib
