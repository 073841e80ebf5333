// The strategy "surrogate": agents/proposers/tune/strategy.h.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "agents/proposers/tune/gaussian_process.h"
#include "agents/proposers/tune/strategy.h"

namespace fib::agents {

namespace {

constexpr size_t kMostTrials = 200;   // that the model is made of
constexpr size_t kMostScored = 2048;  // untried ones that it looks at
constexpr size_t kBestTrials = 6;     // whose neighbours it looks at in any case
constexpr size_t kParts = 3;          // of what is left it looks at one
constexpr size_t kSpread = 3;         // drawn for a lonely one: of many it would be a corner, and
                                      // extremes seldom work
constexpr double kLonely = 0.1;       // of all picks: whatever the model believes
constexpr double kLeastNoise = 0.003;

std::vector<double> coordinates(const Point& point, const std::vector<int>& sizes) {
  std::vector<double> at;
  for (size_t i = 0; i < point.size(); ++i) {
    at.push_back(sizes[i] == 1 ? 0.0 : static_cast<double>(point[i]) / (sizes[i] - 1));
  }
  return at;
}

double squared_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

// Of a few drawn the one farthest from all that was tried.
std::optional<Point> pick_lonely(const TuningState& state, Draws& draws) {
  std::optional<Point> best;
  double best_distance = -1.0;
  for (Point& point : state.space.untaken(state.taken, kSpread, draws)) {
    const auto at = coordinates(point, state.space.sizes());
    double distance = static_cast<double>(at.size()) + 1.0;
    for (const Trial& trial : state.trials) {
      distance =
          std::min(distance, squared_distance(at, coordinates(trial.point, state.space.sizes())));
    }
    if (distance > best_distance) {
      best_distance = distance;
      best = std::move(point);
    }
  }
  return best;
}

// The measured trials, best first.
std::vector<const Trial*> ranked(const std::vector<Trial>& trials) {
  std::vector<const Trial*> ranking;
  for (const Trial& trial : trials) {
    if (trial.log_speedup) ranking.push_back(&trial);
  }
  std::stable_sort(ranking.begin(), ranking.end(), [](const Trial* a, const Trial* b) {
    return *a->log_speedup > *b->log_speedup;
  });
  return ranking;
}

// As many as the model takes: the first `kept` and any of the others.
void thin_out(std::vector<const Trial*>& trials, size_t kept, Draws& draws) {
  for (size_t i = kept; i < kMostTrials && trials.size() > kMostTrials; ++i) {
    std::swap(trials[i], trials[i + draws.below(trials.size() - i)]);
  }
  trials.resize(std::min(trials.size(), kMostTrials));
}

// What the model of speeds sees. The bad ones are cut off as far below the median as the best is
// above it. Those that failed pass for vaguely middling, so that it soon expects nothing new beside
// them.
std::vector<Observation> observations_of(const std::vector<const Trial*>& ranking,
                                         const std::vector<const Trial*>& failed,
                                         const std::vector<int>& sizes) {
  const double median = *ranking[ranking.size() / 2]->log_speedup;
  const double spread = *ranking.front()->log_speedup - median;
  std::vector<Observation> observations;
  for (const Trial* trial : ranking) {
    observations.push_back({.at = coordinates(trial->point, sizes),
                            .value = std::max(*trial->log_speedup, median - spread),
                            .noise = std::max(trial->noise, kLeastNoise)});
  }
  for (const Trial* trial : failed) {
    observations.push_back({.at = coordinates(trial->point, sizes),
                            .value = median,
                            .noise = std::max(0.5 * spread, kLeastNoise)});
  }
  return observations;
}

// By how much a normal variable exceeds `best` on average, counting nothing where it doesn't.
double expected_improvement(const GaussianProcess::Prediction& prediction, double best) {
  const double z = (prediction.mean - best) / prediction.deviation;
  const double density = std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::numbers::pi);
  const double probability = 0.5 * std::erfc(-z / std::numbers::sqrt2);
  return prediction.deviation * (z * probability + density);
}

// How likely a configuration works: a process of its own over 1 for those that did and -1 for those
// that didn't, which learns which tunables decide that.
class Feasibility {
 public:
  Feasibility(const std::vector<const Trial*>& worked, const std::vector<const Trial*>& failed,
              const std::vector<int>& sizes) {
    if (failed.empty()) return;
    std::vector<Observation> observations;
    for (const Trial* trial : worked) {
      observations.push_back({.at = coordinates(trial->point, sizes), .value = 1.0});
    }
    for (const Trial* trial : failed) {
      observations.push_back({.at = coordinates(trial->point, sizes), .value = -1.0});
    }
    process_.emplace(std::move(observations));
  }

  double at(const std::vector<double>& place) const {
    if (!process_) return 1.0;
    const auto guess = process_->predict(place);
    return 0.5 * std::erfc(-guess.mean / (kSlack + guess.deviation) / std::numbers::sqrt2);
  }

 private:
  static constexpr double kSlack = 0.25;  // never quite sure: a cliff may lie between neighbours
  std::optional<GaussianProcess> process_;
};

// All that are untried, or of many some, and what is near to the best.
std::vector<Point> candidates(const TuningState& state, const std::vector<const Trial*>& ranking,
                              Draws& draws) {
  std::vector<Point> pool = state.space.untaken(state.taken, kMostScored, draws);
  for (size_t i = 0; i < std::min(ranking.size(), kBestTrials); ++i) {
    if (state.space.is_listed() && pool.size() < kMostScored) break;  // they are in there
    auto near = state.space.neighbours(ranking[i]->point, state.taken);
    std::move(near.begin(), near.end(), std::back_inserter(pool));
  }
  // Some are picked while the outcome of others isn't known, nor that they are on their way. They
  // seldom agree if each looks at a part of its own.
  const size_t looked_at = (pool.size() + kParts - 1) / kParts;
  for (size_t i = 0; i < looked_at; ++i) std::swap(pool[i], pool[i + draws.below(pool.size() - i)]);
  pool.resize(looked_at);
  return pool;
}

class SurrogateStrategy final : public Strategy {
 public:
  std::optional<Point> pick(const TuningState& state, Draws& draws) const override {
    std::vector<const Trial*> ranking = ranked(state.trials), failed;
    for (const Trial& trial : state.trials) {
      if (!trial.log_speedup) failed.push_back(&trial);
    }
    // One more than there are coordinates, so that each can have been seen to matter.
    const size_t first = std::max<size_t>(3, state.space.sizes().size() + 1);
    if (ranking.size() < first || draws.happens(kLonely)) return pick_lonely(state, draws);
    const std::vector<Point> pool = candidates(state, ranking, draws);
    if (pool.empty()) return std::nullopt;

    thin_out(ranking, kMostTrials / 2, draws);
    thin_out(failed, 0, draws);
    const auto& sizes = state.space.sizes();
    const GaussianProcess speed(observations_of(ranking, failed, sizes));
    const Feasibility feasibility(ranking, failed, sizes);
    // The best by the model rather than by a lucky measurement.
    double best = -std::numeric_limits<double>::infinity();
    for (const Trial* trial : ranking) {
      best = std::max(best, speed.predict(coordinates(trial->point, sizes)).mean);
    }
    const Point* chosen = nullptr;
    double chosen_score = 0.0;
    for (const Point& point : pool) {
      const auto at = coordinates(point, sizes);
      const double score = expected_improvement(speed.predict(at), best) * feasibility.at(at);
      if (chosen != nullptr && score <= chosen_score) continue;
      chosen = &point;
      chosen_score = score;
    }
    return *chosen;
  }
};

}  // namespace

std::unique_ptr<Strategy> make_surrogate_strategy() {
  return std::make_unique<SurrogateStrategy>();
}

}  // namespace fib::agents
