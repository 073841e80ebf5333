#pragma once

// What can be changed about a parent, one thing at a time: the moves that `mutate` draws from.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "agents/proposers/proposer.h"
#include "signatures/design_space.h"

namespace fib::agents {

// Other text for a block.
struct BlockChange {
  std::string block;
  std::string text;
};
// Other values for some tunables: index into the space's tunables, value.
struct ValueChange {
  std::vector<std::pair<size_t, int64_t>> values;
};

struct Change {
  std::variant<BlockChange, ValueChange> what;
  std::string note;  // "dot: lanes", "dot as in 12", "TILE 64 -> 128 as in 12"
  std::optional<int64_t> lender = std::nullopt;  // number of the candidate that it is taken from
};

// By where they come from; a draw picks a source first, so that a large one doesn't drown the
// others.
struct Changes {
  std::vector<Change> alternatives;  // that the parent declares
  std::vector<Change> blocks;        // of the others
  std::vector<Change> values;        // of the others: of one tunable, or all that differ
  bool empty() const { return alternatives.empty() && blocks.empty() && values.empty(); }
};

// All that differ from what the parent has. An ancestor whose blocks or tunables can't be read
// lends nothing. Error: the parent's own can't be.
Result<Changes> changes_of(const Ancestor& parent, const DesignSpace& space,
                           const std::vector<Ancestor>& others);

}  // namespace fib::agents
