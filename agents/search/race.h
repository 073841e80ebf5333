#pragma once

// Who needs no paired session: what a few workloads, each looked at briefly, say about all of them.
//
// A race goes over the workloads in an order in which the first say most. After each one the
// candidate's weighted geometric mean over all of them is known within bounds. A workload that was
// looked at counts with the interval that was measured. Of the others it is known how the rival
// does there: speedups over the baseline differ between workloads, and for good reasons, but two
// candidates that are akin differ in much the same way. So where nobody has looked, the candidate
// is taken to do against the rival at best a margin better than on the best of the workloads that
// were looked at, and at worst a margin worse than on the worst. The fewer are left, the less it
// matters; near the rival all have to be looked at, and then nothing is assumed. Nobody is beaten
// before kLeastLegs were looked at, which differ in size: gains on small workloads say little of
// those on large ones. Who seems to be ahead is looked at everywhere too: some more looks are cheap
// beside a session for nothing.

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "agents/search/bench.h"
#include "agents/search/screening.h"

namespace fib::agents {

// Over the baseline, with 95 %.
struct Speedup {
  double middle = 1.0, low = 1.0, high = 1.0;
};

// A workload of a race.
struct Leg {
  double weight = 1.0;                        // in its traffic
  double rival = 1.0;                         // the rival's speedup
  std::optional<Speedup> own = std::nullopt;  // nothing: not looked at yet
};

// What all legs come to; at least one was looked at. Errors of workloads are independent, and none
// is smaller than what a session makes of no difference at all (kLeastNoiseFloor).
Speedup standing_of(std::span<const Leg> legs, double margin);

inline constexpr size_t kLeastLegs = 3;

// A race in progress: legs are run in order until it is decided.
class RaceCourse {
 public:
  RaceCourse(std::vector<Leg> legs, double to_beat, double margin);

  // The leg to be run, by its position; nothing: it is beaten, or all are run.
  std::optional<size_t> next() const;
  void add(const Speedup& own);

  const Speedup& standing() const { return standing_; }  // after the first
  int64_t legs_run() const { return static_cast<int64_t>(run_); }
  // It can't be as good as what is to be beaten. Never before kLeastLegs, or all, were run.
  bool is_beaten() const;

 private:
  std::vector<Leg> legs_;
  const double to_beat_, margin_;
  size_t run_ = 0;
  Speedup standing_;
};

// The positions of `posed` in the order of a race: first the screening's, which has been looked at
// by then; then the heaviest in traffic; of equals, the one least like all before it in size.
std::vector<size_t> race_order(const std::vector<PosedPtr>& posed, const DeviceInfo& device,
                               size_t screened);

}  // namespace fib::agents
