#pragma once

// What `fib solution new --target cpu` writes: a folder to start from.

#include <vector>

#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

// solution.json and solution.cpp, commented, with the signature's tensors by name. For the op types
// that have a plain implementation here (rmsnorm, fused_add_rmsnorm, gemm, gqa_paged_decode,
// moe_int4_g32) it is right and slow; for others it compiles, fills the outputs with zeros and says
// so.
std::vector<SourceFile> cpu_skeleton(const Signature& signature);

}  // namespace fib
