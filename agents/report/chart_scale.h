#pragma once

// From numbers to positions on paper, and the numbers that are written beside an axis.

#include <string>
#include <vector>

namespace fib::agents {

struct Tick {
  double value = 0.0;
  std::string label;
};

// Of counts from 0 to `last`: 1, 2 or 5 times a power of ten apart, `most` steps at most.
std::vector<Tick> count_ticks(double last, int most);

// A logarithmic axis, as ratios want: 2x is as far above 1x as 0.5x is below.
class LogScale {
 public:
  // `low` is drawn at `low_position`, `high` at `high_position`. Both are positive, low < high.
  LogScale(double low, double high, double low_position, double high_position);

  // What lies outside, and what isn't a positive number, is drawn at the nearer end.
  double position(double value) const;
  std::vector<Tick> ticks() const;  // "0.5x", "1x", "2x"; closer ones where the range is small

 private:
  double low_, high_, low_position_, high_position_;
};

}  // namespace fib::agents
