#pragma once

// From the verdicts of a candidate to what the search goes by.

#include <cstddef>
#include <vector>

#include "agents/search/bench.h"

namespace fib::agents {

// The figure of each is that of all `verdicts` together; what they don't know is that of `built`,
// the binary.
Behaviour behaviour_of(const std::vector<Verdict>& verdicts, const Behaviour& built);

// `verdicts` are stored (their ids are set) and lose their samples. It passed if all `workloads` of
// them did; there is a speedup if each of these was paired. `built` is what the binary says.
Judgement judgement_of(std::vector<Verdict> verdicts, size_t workloads, const Behaviour& built);

}  // namespace fib::agents
