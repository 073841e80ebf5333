#pragma once

// How what the bench says becomes a candidate's record.

#include <span>

#include "agents/search/bench.h"

namespace fib::agents {

// What of a race stays when it isn't followed by a session: who was beaten keeps its figures.
void note_race(CandidateRecord& record, const Race& race);
// The paired session over all workloads, and the one that a winner has to stand afterwards.
void note_judgement(CandidateRecord& record, const Judgement& judgement);
void note_confirmation(CandidateRecord& record, const Judgement& judgement);

// Why a candidate with these verdicts failed, from the first that didn't pass.
Refusal refusal_of(std::span<const Verdict> verdicts);

// Only what is known of a candidate before anybody looked at what it does.
CandidateRecord as_proposed(const CandidateRecord& record);

}  // namespace fib::agents
