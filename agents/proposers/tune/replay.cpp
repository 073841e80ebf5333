#include "agents/proposers/tune/replay.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <numeric>
#include <stdexcept>

#include "agents/proposers/tune/strategy.h"

namespace fib::agents {

namespace {

class ReplayRun {
 public:
  ReplayRun(const MeasuredSpace& space, const ReplayOptions& options, int run)
      : space_(space),
        options_(options),
        strategy_(make_strategy(options.strategy)),
        seeds_(options.seed, 2 * static_cast<uint64_t>(run)),
        noise_(options.seed, 2 * static_cast<uint64_t>(run) + 1) {
    std::vector<int> sizes;
    for (const Tunable& tunable : space.space.tunables) {
      sizes.push_back(static_cast<int>(tunable.values.size()));
    }
    std::vector<Point> points;
    for (const Measurement& measurement : space.measurements) {
      points.push_back(measurement.point);
      by_point_[measurement.point] = &measurement;
    }
    admitted_ = AdmittedSpace::of_points(std::move(sizes), std::move(points));
  }

  std::vector<double> play() {
    try_initial();
    std::vector<double> best = {best_ / space_.optimum()};
    while (static_cast<int>(best.size()) <= options_.budget) {
      while (static_cast<int>(waiting_.size()) >= options_.in_flight) settle();
      pick();
      best.push_back(best_ / space_.optimum());
    }
    return best;
  }

 private:
  void try_initial() {
    Configuration initial;
    for (const Tunable& tunable : space_.space.tunables) initial.push_back(tunable.initial);
    const auto point = point_of(space_.space, initial);
    if (!by_point_.contains(*point)) return;
    measure(*point);
    settle();
  }

  // Nothing left, or one that is on its way already: a try all the same.
  void pick() {
    Draws draws(seeds_.bits());
    const auto point =
        strategy_->pick({.space = admitted_, .trials = trials_, .taken = taken_}, draws);
    const bool is_new =
        point && std::none_of(waiting_.begin(), waiting_.end(),
                              [&](const auto& one) { return one && one->point == *point; });
    if (is_new) {
      measure(*point);
    } else {
      waiting_.push_back(std::nullopt);
    }
  }

  void measure(const Point& point) {
    const Measurement& measurement = *by_point_.at(point);
    Trial trial{.point = point};
    if (measurement.failure.empty()) {
      trial.log_speedup = std::log(measurement.speedup) + space_.noise * noise_.normal();
      trial.noise = space_.noise;
      best_ = std::max(best_, measurement.speedup);
    }
    waiting_.push_back(std::move(trial));
  }

  // The oldest that is on its way becomes known.
  void settle() {
    if (auto& trial = waiting_.front()) {
      taken_.insert(trial->point);
      trials_.push_back(*std::move(trial));
    }
    waiting_.pop_front();
  }

  const MeasuredSpace& space_;
  const ReplayOptions& options_;
  std::unique_ptr<Strategy> strategy_;
  Draws seeds_, noise_;
  AdmittedSpace admitted_ = AdmittedSpace::of_points({}, {});
  std::map<Point, const Measurement*> by_point_;
  std::vector<Trial> trials_;
  std::deque<std::optional<Trial>> waiting_;  // nothing: a try that led to none
  PointSet taken_;
  double best_ = 0.0;
};

// Linear between neighbours.
double quantile(const std::vector<double>& sorted, double at) {
  const double place = at * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

}  // namespace

std::array<double, 3> ReplayResult::quartiles_after(int tries) const {
  std::vector<double> values;
  for (const auto& run : best_) values.push_back(run.at(static_cast<size_t>(tries)));
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)};
}

std::vector<int> ReplayResult::tries_until(double fraction) const {
  std::vector<int> tries;
  for (const auto& run : best_) {
    // Rounding must not keep the optimum from being the optimum.
    const auto reached =
        std::find_if(run.begin(), run.end(), [&](double best) { return best >= fraction - 1e-12; });
    tries.push_back(static_cast<int>(reached - run.begin()));
  }
  return tries;
}

double ReplayResult::mean_tries_until(double fraction) const {
  const std::vector<int> tries = tries_until(fraction);
  return std::accumulate(tries.begin(), tries.end(), 0.0) / static_cast<double>(tries.size());
}

ReplayResult replay(const MeasuredSpace& space, const ReplayOptions& options) {
  if (options.budget < 0 || options.runs < 1 || options.in_flight < 1) {
    throw std::logic_error("a replay of no runs, or with nothing in flight");
  }
  std::vector<std::vector<double>> best;
  for (int run = 0; run < options.runs; ++run) {
    best.push_back(ReplayRun(space, options, run).play());
  }
  return ReplayResult(std::move(best));
}

}  // namespace fib::agents
