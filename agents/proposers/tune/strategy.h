#pragma once

// The seam for whatever chooses the next configuration. A strategy is a pure function of what is
// known and of the draws, so a run that goes on after a kill goes on exactly where it stood.

#include <memory>
#include <optional>
#include <vector>

#include "agents/proposers/tune.h"
#include "agents/proposers/tune/admitted_space.h"

namespace fib::agents {

// A configuration that was tried.
struct Trial {
  Point point;
  std::optional<double> log_speedup;  // nothing: it failed
  double noise = 0.0;                 // standard deviation of log_speedup
};

struct TuningState {
  const AdmittedSpace& space;
  const std::vector<Trial>& trials;  // each point at most once
  const PointSet& taken;             // the trials, and what else mustn't be picked
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  // Outside `taken`. Nothing: there is none left, or in a space too large to list none is found.
  virtual std::optional<Point> pick(const TuningState& state, Draws& draws) const = 0;
};

// Any configuration, each as likely. The one to beat.
std::unique_ptr<Strategy> make_random_strategy();

// A steady population: the best that were measured have children by exchange of values and by steps
// to neighbouring values. Needs no assumption and next to no time; slower than the surrogate to
// find the best of a small space.
std::unique_ptr<Strategy> make_evolutionary_strategy();

// A Gaussian process over the indices of the values, and of the untried configurations the one with
// the largest expected improvement times the chance that it works.
//
// Why this one: spaces are small (tens to thousands), tunables few (2 to 10) and ordered, tries
// dear and noisy. There a Gaussian process makes most of few observations: it takes each one's
// noise into account (our intervals), says how unsure it is between them (a forest's trees agree
// where none has seen anything), and a length scale for each tunable finds out which of them
// matter. Its cost, cubic in the trials, is bounded by looking at 200 of them. Times enter as
// logarithms, and what is far below the median is cut off: how bad the bad ones are says little
// about the good ones. Failures are cliffs, often right beside the best, which a smooth model would
// smear over it; so a second process learns where configurations work. Constraints are exact and no
// model's business.
std::unique_ptr<Strategy> make_surrogate_strategy();

std::unique_ptr<Strategy> make_strategy(TuneStrategy strategy);

}  // namespace fib::agents
