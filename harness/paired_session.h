#pragma once

// A candidate and an incumbent in one session: both checked, timed side by side, and compared.

#include <optional>
#include <string>

#include "harness/paired.h"
#include "harness/posed_problem.h"

namespace fib {

struct PairRequest {
  const Solution& candidate;
  const ArtifactPtr& candidate_artifact;
  const Solution& incumbent;
  const ArtifactPtr& incumbent_artifact;
  const PosedProblem& posed;
  ExpectedSource expected;
  const MeasureConfig& config;  // as the candidate is timed alone
  double least_noise_floor = kLeastNoiseFloor;
};

struct PairOutcome {
  // The candidate's verdict in this session where it didn't pass and the incumbent did.
  std::optional<Verdict> failure;
  std::optional<PairedEstimate> estimate;  // nothing: `note` says why
  std::string note;
  ModeTiming timing;  // the samples of all contenders
};

// What goes wrong here is no error: the candidate was judged by itself before, and stands without
// a pair. Where both fail, the incumbent is to blame: it may have taken the device down with it.
PairOutcome measure_pair(Session& session, const PairRequest& request);

// Puts a pair into the candidate's verdict; a failure of the candidate takes the verdict's place.
void note_pair(const PairOutcome& pair, Verdict& verdict);
// And what came of timing it again, after a first FASTER: that too and the numbers of this second
// session, which nobody selected; else AMBIGUOUS.
void note_confirmation(const PairOutcome& again, Verdict& verdict);

}  // namespace fib
