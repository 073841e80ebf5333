#pragma once

// The `mutate` proposer: structural rewrites of a parent, without a model. It puts an alternative
// that the author declared in place of a variation's block, takes a block of the same name from
// another candidate of the run (which may be one that a model wrote), or takes values of tunables
// from another that declares them too; now and then several at once.
//
// With a parent that declares
//   "variations": {"dot": {"alternatives": {"scalar": "dot_scalar.inc", "lanes": "dot_lanes.inc"}}}
// and stands on `scalar`, a proposal is the same solution with the text of dot_lanes.inc between
// `// fib:block dot` and `// fib:end dot`, and the note "dot: lanes".

#include <memory>

#include "agents/proposers/proposer.h"

namespace fib::agents {

struct MutateOptions {
  double another = 0.35;  // the chance of one more change, after each
  int max_changes = 5;    // in one proposal
  int draws = 200;        // until nothing new is taken for nothing left
};

std::unique_ptr<Proposer> make_mutate_proposer(MutateOptions options = {});

}  // namespace fib::agents
