// The strategy "surrogate": agents/proposers/tune/strategy.h.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "agents/proposers/tune/gaussian_process.h"
#include "agents/proposers/tune/strategy.h"

namespace fib::agents {

namespace {

constexpr size_t kMostTrials = 200;   // that the model is made of
constexpr size_t kMostScored = 2048;  // untried ones that it looks at
constexpr size_t kBestTrials = 6;     // whose neighbours it looks at in any case
constexpr size_t kSpread = 24;        // drawn for a first one, of which the loneliest is taken
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

// The best half and any of the others.
void thin_out(std::vector<const Trial*>& ranking, Draws& draws) {
  for (size_t i = kMostTrials / 2; i < kMostTrials && ranking.size() > kMostTrials; ++i) {
    std::swap(ranking[i], ranking[i + draws.below(ranking.size() - i)]);
  }
  ranking.resize(std::min(ranking.size(), kMostTrials));
}

std::vector<Observation> observations_of(const std::vector<const Trial*>& ranking,
                                         const std::vector<int>& sizes) {
  const double best = *ranking.front()->log_speedup;
  const double median = *ranking[ranking.size() / 2]->log_speedup;
  const double least = median - (best - median);
  std::vector<Observation> observations;
  for (const Trial* trial : ranking) {
    observations.push_back({.at = coordinates(trial->point, sizes),
                            .value = std::max(*trial->log_speedup, least),
                            .noise = std::max(trial->noise, kLeastNoise)});
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

class SurrogateStrategy final : public Strategy {
 public:
  std::optional<Point> pick(const TuningState& state, Draws& draws) const override {
    std::vector<const Trial*> ranking = ranked(state.trials);
    // One more than there are coordinates, so that each can have been seen to matter.
    if (ranking.size() < std::max<size_t>(3, state.space.sizes().size() + 1)) {
      return pick_lonely(state, draws);
    }
    std::vector<Point> pool = candidates(state, ranking, draws);
    if (pool.empty()) return std::nullopt;
    thin_out(ranking, draws);
    return best_of(pool, state, GaussianProcess(observations_of(ranking, state.space.sizes())),
                   ranking);
  }

 private:
  static std::vector<Point> candidates(const TuningState& state,
                                       const std::vector<const Trial*>& ranking, Draws& draws) {
    std::vector<Point> pool = state.space.untaken(state.taken, kMostScored, draws);
    if (state.space.is_listed() && pool.size() < kMostScored) return pool;  // those are all
    for (size_t i = 0; i < std::min(ranking.size(), kBestTrials); ++i) {
      auto near = state.space.neighbours(ranking[i]->point, state.taken);
      std::move(near.begin(), near.end(), std::back_inserter(pool));
    }
    return pool;
  }

  static Point best_of(const std::vector<Point>& pool, const TuningState& state,
                       const GaussianProcess& process, const std::vector<const Trial*>& ranking) {
    const auto& sizes = state.space.sizes();
    // The best by the model rather than by a lucky measurement.
    double best = -std::numeric_limits<double>::infinity();
    std::vector<std::vector<double>> worked, failed;
    for (const Trial* trial : ranking) {
      worked.push_back(coordinates(trial->point, sizes));
      best = std::max(best, process.predict(worked.back()).mean);
    }
    for (const Trial& trial : state.trials) {
      if (!trial.log_speedup) failed.push_back(coordinates(trial.point, sizes));
    }
    const Point* chosen = nullptr;
    double chosen_score = -1.0;
    for (const Point& point : pool) {
      const auto at = coordinates(point, sizes);
      double works = 1.0, all = 1.0;  // one vote for "works" beforehand
      if (!failed.empty()) {
        for (const auto& other : worked) works += process.similarity(at, other);
        all = works;
        for (const auto& other : failed) all += process.similarity(at, other);
      }
      const double score = expected_improvement(process.predict(at), best) * works / all;
      if (score > chosen_score) {
        chosen_score = score;
        chosen = &point;
      }
    }
    return *chosen;
  }
};

}  // namespace

std::unique_ptr<Strategy> make_surrogate_strategy() {
  return std::make_unique<SurrogateStrategy>();
}

}  // namespace fib::agents
