#pragma once

// Tuning without a device: a strategy plays on a space whose answers are known.

#include <array>
#include <cstdint>
#include <vector>

#include "agents/proposers/tune.h"
#include "agents/proposers/tune/measured_space.h"

namespace fib::agents {

struct ReplayOptions {
  TuneStrategy strategy = TuneStrategy::kSurrogate;
  int budget = 60;  // tries of a run, besides the initial configuration
  int runs = 31;    // each with other draws and other noise
  uint64_t seed = 1;
  int in_flight =
      1;  // the newest tries whose outcome isn't known yet when the next is picked, and it
};

class ReplayResult {
 public:
  // best[run][tries]: the best found so far over the optimum, tries from 0 to the budget.
  explicit ReplayResult(std::vector<std::vector<double>> best) : best_(std::move(best)) {}

  // Lower quartile, median and upper quartile over the runs.
  std::array<double, 3> quartiles_after(int tries) const;
  // Of each run the tries until `fraction` of the optimum was found; one more than the budget where
  // it wasn't.
  std::vector<int> tries_until(double fraction) const;
  double mean_tries_until(double fraction) const;
  int budget() const { return static_cast<int>(best_.front().size()) - 1; }

 private:
  std::vector<std::vector<double>> best_;
};

ReplayResult replay(const MeasuredSpace& space, const ReplayOptions& options);

}  // namespace fib::agents
