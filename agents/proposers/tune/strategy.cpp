#include "agents/proposers/tune/strategy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "signatures/base/suggest.h"

namespace fib::agents {

namespace {

constexpr std::array kStrategyNames = {
    std::pair<TuneStrategy, std::string_view>{TuneStrategy::kRandom, "random"},
    std::pair<TuneStrategy, std::string_view>{TuneStrategy::kEvolutionary, "evolutionary"},
    std::pair<TuneStrategy, std::string_view>{TuneStrategy::kSurrogate, "surrogate"},
};

class RandomStrategy final : public Strategy {
 public:
  std::optional<Point> pick(const TuningState& state, Draws& draws) const override {
    std::vector<Point> found = state.space.untaken(state.taken, 1, draws);
    if (found.empty()) return std::nullopt;
    return std::move(found.front());
  }
};

}  // namespace

std::string_view tune_strategy_name(TuneStrategy strategy) {
  for (const auto& [known, name] : kStrategyNames) {
    if (known == strategy) return name;
  }
  throw std::logic_error("a strategy without a name");
}

Result<TuneStrategy> tune_strategy_from_name(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& [strategy, known] : kStrategyNames) {
    if (known == name) return strategy;
    names.push_back(known);
  }
  const auto nearest = nearest_word(name, names);
  return fail(
      ErrorCode::kInvalidInput, fmt::format("there is no strategy '{}'", name), "strategy",
      nearest ? fmt::format("did you mean '{}'?", *nearest) : "random, evolutionary or surrogate");
}

std::vector<TuneStrategy> tune_strategies() {
  std::vector<TuneStrategy> strategies;
  for (const auto& entry : kStrategyNames) strategies.push_back(entry.first);
  return strategies;
}

std::unique_ptr<Strategy> make_random_strategy() { return std::make_unique<RandomStrategy>(); }

std::unique_ptr<Strategy> make_strategy(TuneStrategy strategy) {
  switch (strategy) {
    case TuneStrategy::kRandom: return make_random_strategy();
    case TuneStrategy::kEvolutionary: return make_evolutionary_strategy();
    case TuneStrategy::kSurrogate: return make_surrogate_strategy();
  }
  throw std::logic_error("a strategy that nobody makes");
}

}  // namespace fib::agents
