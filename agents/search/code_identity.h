#pragma once

// What a build says of itself before it ever runs: which program it is, and what it takes.

#include <string>

#include "harness/runner.h"
#include "leaderboard/run_archive.h"

namespace fib::agents {

struct CodeIdentity {
  // Equal: the same machine code, so the same results in the same time. Comments, names, line
  // numbers and folders don't count; instructions, constants, launches and entry points do.
  std::string key;
  // cuda: the largest number of registers, of spilled and of statically shared bytes of its
  // kernels.
  Behaviour behaviour;
};

// Of a `cuda` or `cpu` artifact. Error: its files in the build cache are damaged, or its target is
// another.
Result<CodeIdentity> code_identity(const Artifact& artifact);

}  // namespace fib::agents
