#pragma once

// A request as the search makes them, about a small solution.

#include "agents/proposers/proposer.h"
#include "signatures/catalog.h"

namespace fib::agents::testing {

inline Solution sample_solution() {
  Solution solution;
  solution.name = "plain";
  solution.definition = "rmsnorm";
  solution.author = "someone";
  solution.language = SolutionLanguage::kCpp;
  solution.target_hardware = {"cpu"};
  solution.entry_point = "solution.cpp::fib_run";
  solution.sources = {{"solution.cpp", "#include <fib/cpu.h>\n#include \"tile.h\"\nint run();\n"},
                      {"tile.h", "#include <fib/cpu/bf16.h>\nenum { kTile = 4 };\n"}};
  solution.fib = {{"target", "cpu"}, {"entry", "solution.cpp"}};
  return solution;
}

inline ProposalRequest sample_request() {
  CandidateRecord record;
  record.proposer = "seed";
  record.fate = CandidateFate::kMeasured;
  record.speedup = 1.0;
  record.speedup_low = 0.99;
  record.speedup_high = 1.01;
  record.solution_key = solution_key(sample_solution());
  return {
      .signature =
          Catalog::builtin(FIB_SOURCE_DIR "/signatures/definitions")->find("rmsnorm_h64").value(),
      .target = "cpu",
      .architecture = "x86_64",
      .hardware = "a processor of eight cores",
      .seed = 1,
      .parent = {.solution = sample_solution(), .record = record},
      .history = std::make_shared<const std::vector<CandidateRecord>>(
          std::vector<CandidateRecord>{record}),
      .cancelled = [] { return false; }};
}

}  // namespace fib::agents::testing
