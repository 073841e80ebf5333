#include "agents/search/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace fib::agents {

namespace {

// What a session over all workloads knows takes the place of what the binary said.
void merge(Behaviour& behaviour, const Behaviour& measured) {
  const auto take = [](auto& to, const auto& from) {
    if (from != std::decay_t<decltype(from)>{}) to = from;
  };
  take(behaviour.relative_error, measured.relative_error);
  take(behaviour.registers, measured.registers);
  take(behaviour.shared_bytes, measured.shared_bytes);
  take(behaviour.spilled_bytes, measured.spilled_bytes);
  take(behaviour.code_bytes, measured.code_bytes);
  take(behaviour.roofline_fraction, measured.roofline_fraction);
  take(behaviour.bound, measured.bound);
}

void note_session(CandidateRecord& record, const Judgement& judgement) {
  record.device_s += judgement.device_s;
  record.verdicts = judgement.verdict_ids;
  merge(record.behaviour, judgement.behaviour);
  record.speedup = record.speedup_low = record.speedup_high = 0.0;
  if (!judgement.is_ranked()) return;
  record.speedup = judgement.speedup;
  record.speedup_low = judgement.speedup_low;
  record.speedup_high = judgement.speedup_high;
}

// All are right, and yet there is no speedup.
Refusal refusal_of_right(std::span<const Verdict> verdicts) {
  const auto is_unpaired = [](const Verdict& it) { return !it.speedup.has_value(); };
  const auto unpaired = std::ranges::find_if(verdicts, is_unpaired);
  if (unpaired == verdicts.end()) {
    return {"incomplete", "not every workload could be judged"};
  }
  return {"unpaired",
          fmt::format("right, but not timed beside the baseline on {} of {} workloads; on {}: {}",
                      std::ranges::count_if(verdicts, is_unpaired), verdicts.size(),
                      unpaired->workload, unpaired->paired_note)};
}

}  // namespace

void note_race(CandidateRecord& record, const Race& race) {
  record.stage = CandidateStage::kRaced;
  record.device_s += race.device_s;
  merge(record.behaviour, race.behaviour);
  if (!race.is_beaten) return;
  record.speedup = race.speedup;
  record.speedup_low = race.speedup_low;
  record.speedup_high = race.speedup_high;
}

void note_judgement(CandidateRecord& record, const Judgement& judgement) {
  record.stage = CandidateStage::kJudged;
  note_session(record, judgement);
}

void note_confirmation(CandidateRecord& record, const Judgement& judgement) {
  record.stage = CandidateStage::kConfirmed;
  record.is_confirmed = judgement.is_ranked();
  record.judged_speedup = record.speedup;
  note_session(record, judgement);
}

Refusal refusal_of(std::span<const Verdict> verdicts) {
  const auto failed = std::ranges::find_if(
      verdicts, [](const Verdict& it) { return it.status != VerdictStatus::kPassed; });
  if (failed == verdicts.end()) return refusal_of_right(verdicts);
  if (!failed->reason.empty()) return {failed->reason, failed->message};
  std::string reason(trace_status_name(failed->status));
  std::ranges::transform(reason, reason.begin(), [](unsigned char c) {
    return c == '_' ? '-' : static_cast<char>(std::tolower(c));
  });
  return {std::move(reason), failed->message};
}

CandidateRecord as_proposed(const CandidateRecord& record) {
  return {.run = record.run,
          .number = record.number,
          .island = record.island,
          .proposer = record.proposer,
          .parents = record.parents,
          .seed = record.seed,
          .note = record.note,
          .cost = record.cost};
}

}  // namespace fib::agents
