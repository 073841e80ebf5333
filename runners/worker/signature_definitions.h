#pragma once

// What sources are told of the signature they are compiled for.

#include <string>
#include <utility>
#include <vector>

#include "signatures/signature.h"

namespace fib {

// FIB_AXIS_<name> of each const axis and FIB_PARAM_<name> of each parameter: kernels, plan.cpp and
// cpu solutions see the same, in the harness and in packages.
std::vector<std::pair<std::string, std::string>> signature_definitions(const Signature& signature);

}  // namespace fib
