#pragma once

// What `fib solution new --target cuda` writes: a folder to start from.

#include <vector>

#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

// solution.json, kernel.cu and plan.cpp with the signature's tensors by name. For the signatures we
// know a plain kernel that is right; for others a frame that compiles, fills the outputs with zeros
// and says so.
std::vector<SourceFile> cuda_skeleton(const Signature& signature);

}  // namespace fib
