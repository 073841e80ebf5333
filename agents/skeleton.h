#pragma once

// A folder to start a solution from: what `fib solution new` writes and what agents are given.

#include <string>
#include <vector>

#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

struct SkeletonRequest {
  std::string target;  // "cpu" or "cuda"
  std::string name, author;
};

// The target's skeleton (runners/*/skeleton.h) with its manifest signed, and an AGENTS.md.
Result<std::vector<SourceFile>> make_skeleton(const Signature& signature,
                                              const SkeletonRequest& request);

}  // namespace fib
