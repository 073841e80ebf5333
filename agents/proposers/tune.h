#pragma once

// The `tune` proposer: other values for the tunables that the parent declares (docs/tunables.md),
// all else as it is. What to try next is a strategy's choice, which learns from all candidates of
// the run that are this solution set otherwise.
//
// With a parent that declares
//   "tunables": {"TILE": {"values": [32, 64, 128], "initial": 64},
//                "STAGES": {"values": [2, 3, 4], "initial": 3}}
// and is set to its initial values, a proposal is the same solution with the flag `-DTILE=128` and
// the note "TILE 64 -> 128, STAGES 3". When every configuration that the constraints admit has been
// tried, the refusal's reason is "exhausted".

#include <memory>
#include <string_view>
#include <vector>

#include "agents/proposers/proposer.h"

namespace fib::agents {

// agents/proposers/tune/strategy.h says what each does.
enum class TuneStrategy { kRandom, kEvolutionary, kSurrogate };
std::string_view tune_strategy_name(TuneStrategy strategy);  // "random", "evolutionary", ...
Result<TuneStrategy> tune_strategy_from_name(std::string_view name);
std::vector<TuneStrategy> tune_strategies();

struct TuneOptions {
  TuneStrategy strategy = TuneStrategy::kSurrogate;
};

std::unique_ptr<Proposer> make_tune_proposer(TuneOptions options = {});

}  // namespace fib::agents
