#pragma once

// What the tests of `tune` share: a solution with tunables, and a search around it.

#include <gtest/gtest.h>

#include <map>

#include "agents/proposers/tune.h"
#include "agents/proposers/tune/measured_space.h"

namespace fib::agents {

inline Solution tunable_solution() {
  Solution solution;
  solution.name = "plain";
  solution.definition = "s";
  solution.author = "fib";
  solution.language = SolutionLanguage::kCpp;
  solution.entry_point = "solution.cpp::fib_run";
  solution.sources = {{"solution.cpp", "int x = TILE * STAGES;\n"}};
  solution.where = "plain";
  solution.fib = Json::parse(R"({
    "target": "cpu", "entry": "solution.cpp", "flags": ["-O2"],
    "tunables": {"TILE": {"values": [16, 32, 64, 128], "initial": 32},
                 "STAGES": {"values": [2, 3, 4], "initial": 3}},
    "constraints": ["TILE * STAGES <= 384", "width % TILE == 0"]
  })");
  return solution;
}

inline SignaturePtr signature_of_width(int64_t width) {
  auto signature = std::make_shared<Signature>();
  signature->name = "s";
  signature->axes = {{.name = "width", .kind = Axis::Kind::kConst, .value = width}};
  return signature;
}

inline CandidateRecord measured_record(int64_t number, const Solution& solution, double speedup) {
  return {.number = number,
          .solution_key = solution_key(solution),
          .stage = CandidateStage::kJudged,
          .fate = CandidateFate::kMeasured,
          .speedup = speedup,
          .speedup_low = speedup * 0.98,
          .speedup_high = speedup * 1.02};
}

// A search that only tunes: the seed is candidate 0, the parent of all.
class TuningSearch {
 public:
  explicit TuningSearch(int64_t width = 128) : signature_(signature_of_width(width)) {
    candidates_.push_back({tunable_solution(), measured_record(0, tunable_solution(), 1.0)});
  }

  ProposalRequest request(uint64_t seed) const {
    auto history = std::make_shared<std::vector<CandidateRecord>>();
    for (const Ancestor& one : candidates_) history->push_back(one.record);
    return {.signature = signature_,
            .target = "cpu",
            .seed = seed,
            .parent = candidates_.front(),
            .history = history,
            .cancelled = [] { return false; }};
  }

  // What a proposal came to.
  Ancestor& add(const ProposalOutcome& outcome, double speedup) {
    Ancestor candidate{*outcome.solution, measured_record(static_cast<int64_t>(candidates_.size()),
                                                          *outcome.solution, speedup)};
    candidate.record.note = outcome.note;
    candidate.record.proposer = "tune";
    candidates_.push_back(std::move(candidate));
    return candidates_.back();
  }

  const std::vector<Ancestor>& candidates() const { return candidates_; }

 private:
  SignaturePtr signature_;
  std::vector<Ancestor> candidates_;
};

}  // namespace fib::agents
