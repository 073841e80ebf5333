#pragma once

// What `fib solution new --target cuda` writes: a folder to start from.

#include <vector>

#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

// solution.json, kernel.cu and plan.cpp with the signature's tensors by name. It compiles, launches
// one kernel, fills the outputs with zeros and says so: the mathematics is left to the author.
std::vector<SourceFile> cuda_skeleton(const Signature& signature);

}  // namespace fib
