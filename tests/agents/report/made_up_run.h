#pragma once

// A run that never happened, small enough to be followed by eye:
//
//   #0 seed 1.0x
//   ├─ #1 tune 1.2x
//   │  ├─ #3 mutate 1.5x, with blocks of #0, confirmed
//   │  └─ #5 llm 1.3x
//   ├─ #2 tune, failed
//   ├─ #4 tune, duplicate of #1
//   └─ #6 llm, refused

#include <string>
#include <vector>

#include "agents/report/run_report.h"

namespace fib::testing {

inline CandidateRecord made_up(int64_t number, std::string proposer, std::vector<int64_t> parents) {
  CandidateRecord candidate;
  candidate.run = 1;
  candidate.number = number;
  candidate.proposer = std::move(proposer);
  candidate.parents = std::move(parents);
  candidate.timestamp = "2026-01-02T03:04:05";
  return candidate;
}

inline CandidateRecord measured(CandidateRecord candidate, double speedup) {
  candidate.fate = CandidateFate::kMeasured;
  candidate.stage = CandidateStage::kJudged;
  candidate.speedup = speedup;
  candidate.speedup_low = speedup - 0.05;
  candidate.speedup_high = speedup + 0.05;
  candidate.solution_name = "rows";
  candidate.behaviour = {.relative_error = 2e-4, .code_bytes = 3000, .bound = "memory"};
  return candidate;
}

inline CandidateRecord ended(CandidateRecord candidate, CandidateFate fate, std::string reason) {
  candidate.fate = fate;
  candidate.refusal = {std::move(reason), "that is why"};
  return candidate;
}

inline std::vector<CandidateRecord> made_up_candidates() {
  std::vector<CandidateRecord> candidates = {
      measured(made_up(0, "seed", {}), 1.0),
      measured(made_up(1, "tune", {0}), 1.2),
      ended(made_up(2, "tune", {0}), CandidateFate::kFailed, "compile-error"),
      measured(made_up(3, "mutate", {1, 0}), 1.5),
      ended(made_up(4, "tune", {0}), CandidateFate::kDuplicate, "same-code"),
      measured(made_up(5, "llm", {1}), 1.3),
      ended(made_up(6, "llm", {0}), CandidateFate::kRefused, "malformed"),
  };
  candidates[1].note = "TILE 64 -> 128";
  candidates[3].is_confirmed = true;
  candidates[3].behaviour.bound = "compute";
  candidates[4].duplicate_of = 1;
  candidates[5].cost = {.seconds = 3.0, .prompt_tokens = 100, .answer_tokens = 20, .money = 0.25};
  candidates[6].cost = {.seconds = 2.0, .prompt_tokens = 50, .answer_tokens = 30, .money = 0.5};
  return candidates;
}

inline RunRecord made_up_run() {
  RunRecord run;
  run.id = 1;
  run.signature = "rmsnorm_h64";
  run.target = "cpu";
  run.hardware = "TEST_CPU";
  run.options = Json{{"seed", 7}};
  run.state = RunState::kFinished;
  run.end_reason = "budget: 6 candidates";
  run.started = "2026-01-02T03:00:00";
  run.updated = "2026-01-02T03:04:05";
  run.active_s = 60.0;
  return run;
}

inline agents::RunReport made_up_report() {
  return agents::make_report(made_up_run(), made_up_candidates());
}

// What somebody might write into a name or an answer, on purpose or not.
inline constexpr const char* kHostile =
    "</title></pre><script>alert('x')</script> \" & \x1b[31m \xff";

}  // namespace fib::testing
