#include "agents/report/chart_scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace fib::agents {

namespace {

constexpr double kMostTicks = 7.0;
// Less than this from end to end is divided evenly: powers would leave it without ticks.
constexpr double kSmallRatio = 4.0;

// The least of 1, 2 and 5 times a power of ten that isn't below `value`.
double round_step_above(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= value * (1.0 - 1e-9)) return factor * power;
  }
  return 10.0 * power;
}

std::vector<Tick> even_ticks(double low, double high) {
  const double step = round_step_above((high - low) / kMostTicks);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  std::vector<Tick> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high * (1.0 + 1e-9); ++i) {
    ticks.push_back({i * step, fmt::format("{:.{}f}x", i * step, decimals)});
  }
  return ticks;
}

std::vector<Tick> power_ticks(double low, double high, std::initializer_list<double> factors) {
  std::vector<Tick> ticks;
  for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10.0) {
    for (const double factor : factors) {
      const double value = factor * power;
      if (value >= low && value <= high) ticks.push_back({value, fmt::format("{:g}x", value)});
    }
  }
  return ticks;
}

}  // namespace

std::vector<Tick> count_ticks(double last, int most) {
  const double step = std::max(1.0, round_step_above(std::max(last, 1.0) / most));
  std::vector<Tick> ticks;
  for (double value = 0.0; value <= last; value += step) {
    ticks.push_back({value, fmt::format("{:.0f}", value)});
  }
  return ticks;
}

LogScale::LogScale(double low, double high, double low_position, double high_position)
    : low_(low), high_(high), low_position_(low_position), high_position_(high_position) {}

double LogScale::position(double value) const {
  if (!(value > low_)) return low_position_;
  const double share = std::log(std::min(value, high_) / low_) / std::log(high_ / low_);
  return low_position_ + share * (high_position_ - low_position_);
}

std::vector<Tick> LogScale::ticks() const {
  const double ratio = high_ / low_;
  if (ratio < kSmallRatio) return even_ticks(low_, high_);
  if (ratio < 30.0) return power_ticks(low_, high_, {1.0, 1.5, 2.0, 3.0, 5.0, 7.0});
  if (ratio < 3000.0) return power_ticks(low_, high_, {1.0, 2.0, 5.0});
  return power_ticks(low_, high_, {1.0});
}

}  // namespace fib::agents
