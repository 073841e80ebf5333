// The strategy "evolutionary": agents/proposers/tune/strategy.h.

#include <algorithm>

#include "agents/proposers/tune/strategy.h"

namespace fib::agents {

namespace {

constexpr size_t kPopulation = 8;  // the best so many have children
constexpr size_t kFirst = 5;       // of so many measured at least; before that any is drawn
constexpr int kTournament = 2;     // parents are the best of so many
constexpr int kBroods = 50;  // children that may be taken or not admitted, before any is drawn
constexpr double kCrossover = 0.6;  // else a child has one parent
constexpr double kStranger = 0.15;  // any, so that nobody is trapped where the first ones were
constexpr double kJump = 0.25;      // a mutation goes anywhere rather than a step

using Population = std::vector<const Trial*>;  // best first

Population population_of(const std::vector<Trial>& trials) {
  Population population;
  for (const Trial& trial : trials) {
    if (trial.log_speedup) population.push_back(&trial);
  }
  std::stable_sort(population.begin(), population.end(), [](const Trial* a, const Trial* b) {
    return *a->log_speedup > *b->log_speedup;
  });
  population.resize(std::min(population.size(), kPopulation));
  return population;
}

const Point& parent_from(const Population& population, Draws& draws) {
  size_t best = population.size() - 1;
  for (int i = 0; i < kTournament; ++i) best = std::min(best, draws.below(population.size()));
  return population[best]->point;
}

void mutate_value(int& value, int size, Draws& draws) {
  if (draws.happens(kJump)) {
    value = static_cast<int>(draws.below(static_cast<size_t>(size)));
  } else {
    value = std::clamp(value + (draws.happens(0.5) ? 1 : -1), 0, size - 1);
  }
}

Point child_of(const Population& population, const std::vector<int>& sizes, Draws& draws) {
  Point child = parent_from(population, draws);
  if (draws.happens(kCrossover)) {
    const Point& other = parent_from(population, draws);
    for (size_t i = 0; i < child.size(); ++i) {
      if (draws.happens(0.5)) child[i] = other[i];
    }
  }
  // One mutation on average.
  const double rate = 1.0 / static_cast<double>(child.size());
  for (size_t i = 0; i < child.size(); ++i) {
    if (draws.happens(rate)) mutate_value(child[i], sizes[i], draws);
  }
  return child;
}

class EvolutionaryStrategy final : public Strategy {
 public:
  std::optional<Point> pick(const TuningState& state, Draws& draws) const override {
    const Population population = population_of(state.trials);
    const bool has_child = population.size() >= kFirst && !draws.happens(kStranger);
    for (int i = 0; has_child && i < kBroods; ++i) {
      Point child = child_of(population, state.space.sizes(), draws);
      if (!state.taken.contains(child) && state.space.contains(child)) return child;
    }
    return make_random_strategy()->pick(state, draws);
  }
};

}  // namespace

std::unique_ptr<Strategy> make_evolutionary_strategy() {
  return std::make_unique<EvolutionaryStrategy>();
}

}  // namespace fib::agents
