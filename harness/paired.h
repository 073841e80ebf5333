#pragma once

// Who of two is faster, from a session in which both were timed side by side. docs/judging.md
// tells the same in words.
//
// A session has three contenders: the candidate, the incumbent, and the incumbent once more as a
// control. Each round times all three in a random order, so a round is the unit of evidence: what
// the clocks or the neighbours do to one contender of a round they do to the others, and it drops
// out of the logarithm of the ratio of two times.
//
// Of the rounds' log ratios the median is taken, with the interval that the sign test gives: ranks
// that hold the median with 95 % probability. Two equal solutions are exchangeable within a round,
// so that their log ratio is symmetric about zero whatever the clock's distribution; the sign test
// needs nothing else. No outlier, however far, moves the median or the interval by more than a
// rank. A bootstrap would ask for more samples and a seed, and give no such guarantee.
//
// The control says what this session makes of no difference at all: as far as the interval of
// incumbent over incumbent reaches from 1, nothing is known. That is the noise floor. It holds what
// rounds don't average out, such as where a worker's memory came to lie.

#include <cstdint>
#include <optional>
#include <span>

#include "harness/runner.h"
#include "harness/verdict.h"

namespace fib {

// The contenders of a paired session, by their index.
inline constexpr uint32_t kPairCandidate = 0, kPairIncumbent = 1, kPairControl = 2;
inline constexpr size_t kPairContenders = 3;

// A gain below one percent is never called one: no session is known that well, and no engine would
// notice. Two that differ by less are the same.
inline constexpr double kLeastNoiseFloor = 0.01;
// Where the floor lies higher than this, what can't be told apart isn't called the same either.
inline constexpr double kWidestSame = 0.05;

struct PairedEstimate {
  PairedResult result = PairedResult::kAmbiguous;
  double speedup = 1.0;                          // incumbent's time over the candidate's
  double speedup_low = 1.0, speedup_high = 1.0;  // at least 95 %
  double noise_floor = kLeastNoiseFloor;         // 0.012: copies of one solution differ by 1.2 %
  int64_t rounds = 0;                            // in which all three were timed
};

// FASTER or SLOWER where the interval clears the noise floor, SAME where it lies within the floor,
// else AMBIGUOUS. `samples` are those of all contenders in one timing mode; rounds that lack a
// contender, or a time that could be measured, don't count. The floor is at least `least_floor`.
// Nothing where there are too few rounds for an interval.
std::optional<PairedEstimate> judge_pair(std::span<const Sample> samples,
                                         double least_floor = kLeastNoiseFloor);

// How much faster one of two contenders is, without a control: no noise floor is known, so it says
// what is worth a closer look, and never who won. 95 %, and nothing below six rounds of both.
struct SpeedupEstimate {
  double speedup = 1.0, speedup_low = 1.0, speedup_high = 1.0;
  int64_t rounds = 0;
};
std::optional<SpeedupEstimate> estimate_speedup(std::span<const Sample> candidate,
                                                std::span<const Sample> incumbent);

// How a pair is timed where a solution alone is timed as `alone` says: cold only, more closely, and
// as long for each contender.
MeasureConfig paired_config(const MeasureConfig& alone);

}  // namespace fib
