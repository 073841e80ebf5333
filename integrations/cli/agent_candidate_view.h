#pragma once

// One candidate of a search: what it was made of, what became of it, what was said.

#include <vector>

#include "agents/report/run_page.h"
#include "integrations/cli/context.h"
#include "leaderboard/store.h"

namespace fib {

// What the store knows in words: feedback, the difference to the parent, exchanges. A source that
// isn't in the store leaves the difference empty.
Result<agents::CandidateDetails> candidate_details(const RunArchive& archive, const Store& store,
                                                   const CandidateRecord& candidate);

void print_candidate(const Context& context, const CandidateRecord& candidate,
                     const agents::CandidateDetails& details);
Json candidate_details_to_json(const CandidateRecord& candidate,
                               const agents::CandidateDetails& details);

}  // namespace fib
