#pragma once

// What a proposer hands in becomes a candidate of the run, or a refusal: whatever it says of its
// name, author and licence is replaced by what is true.

#include <variant>

#include "agents/proposers/proposer.h"

namespace fib::agents {

struct IntakeRequest {
  const Signature& signature;
  const Ancestor& parent;
  std::string_view seed_name;  // of the seed that it descends from
  int64_t run = 0, number = 0;
  std::string_view proposer;
};

// What was changed, as a proposer says it: a line of UTF-8 of bounded length, or nothing.
std::string one_line(std::string note);

// The candidate, named "<seed>-r<run>-<number>", or why it can't be one: "path" (a source outside
// the solution), "malformed" (no valid solution for this signature and target), "unchanged" (its
// parent). `outcome` has exactly one of solution and refusal, or is refused as "malformed" too.
std::variant<Solution, Refusal> take_in(const IntakeRequest& request, ProposalOutcome outcome);

}  // namespace fib::agents
