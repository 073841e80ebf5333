#pragma once

// A search's records as JSON: what the store keeps of a candidate, `fib agent --json` prints and
// programs that propose read. Non-finite numbers are strings, a seed is one too (decimal: many
// readers of JSON round integers of 64 bits).

#include "leaderboard/run_archive.h"

namespace fib {

Json candidate_to_json(const CandidateRecord& candidate);
Result<CandidateRecord> candidate_from_json(const JsonView& view);

std::optional<RunState> run_state_from_name(std::string_view name);

}  // namespace fib
