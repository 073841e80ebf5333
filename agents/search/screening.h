#pragma once

// The first look at a candidate: right or wrong on one workload, and how fast beside the baseline.

#include <vector>

#include "agents/search/live_bench.h"
#include "harness/posed_problem.h"

namespace fib::agents {

using PosedPtr = std::shared_ptr<const PosedProblem>;

// The problem to screen on, by its position. One that is too small tells nothing about the others
// (it is the launch that takes the time), and would kill candidates that are good where it counts;
// a large one takes long. So: of the workloads that are quick (bytes and least time within limits,
// or at most twice those of the smallest), ordered by their least time, the one in the middle of
// the traffic.
Result<size_t> choose_screening_problem(const std::vector<PosedPtr>& posed,
                                        const DeviceInfo& device);

// As far as it is known, else what is likely: never 0.
double least_time_ns(const PosedProblem& posed, const DeviceInfo& device);

// A candidate or the baseline, built.
struct Entrant {
  const Solution& solution;
  const ArtifactPtr& artifact;
};

// Problem and values stay from candidate to candidate: they are drawn once, and the reference runs
// once.
class Screen {
 public:
  // On the first of its value sets; the expected values are computed when they are first needed.
  Screen(PosedPtr posed, const LiveBenchOptions& options);
  // On values that nothing else is judged on, with the expected ones computed.
  static Result<Screen> make(const Problem& problem, const LiveBenchOptions& options);

  const PosedProblem& posed() const { return *posed_; }
  // The candidate and the baseline in one session. An Error says that the session couldn't measure.
  Result<Screening> compare(Session& session, const Entrant& candidate,
                            const Entrant& baseline) const;
  // Whether the session can still measure at all.
  Result<void> probe(Session& session, const Entrant& baseline) const;

 private:
  MeasureRequest request(std::vector<ArtifactPtr> contenders) const;

  PosedPtr posed_;
  MeasureConfig config_;
  ExpectedCache& expected_;
  int threads_;
};

}  // namespace fib::agents
