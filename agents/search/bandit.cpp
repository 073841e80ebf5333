#include "agents/search/bandit.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fib::agents {

namespace {

constexpr size_t kWindow = 100;
// Of the loop itself and of what isn't measured: no candidate is free.
constexpr double kLeastCost_s = 0.5;

}  // namespace

void ProposerBandit::record(const std::string& proposer, double reward, double cost_s) {
  window_.push_back({proposer, reward, cost_s});
  if (window_.size() > kWindow) window_.pop_front();
}

std::map<std::string, ProposerBandit::Arm> ProposerBandit::arms(
    std::span<const std::string> asked) const {
  std::map<std::string, Arm> arms;
  for (const Asking& asking : window_) {
    Arm& arm = arms[asking.proposer];
    ++arm.count;
    arm.reward += asking.reward;
    arm.cost_s += asking.cost_s;
  }
  for (const std::string& proposer : asked) ++arms[proposer].pending;
  return arms;
}

std::string ProposerBandit::choose(std::span<const std::string> eligible,
                                   std::span<const std::string> asked, double tie) const {
  std::map<std::string, Arm> known = arms(asked);
  const auto total = static_cast<double>(window_.size() + asked.size());
  const auto mean_cost_s = [](const Arm& arm) {
    return kLeastCost_s + (arm.count > 0 ? arm.cost_s / static_cast<double>(arm.count) : 0.0);
  };
  const auto mean_reward = [](const Arm& arm) {
    return arm.reward / static_cast<double>(std::max<int64_t>(1, arm.count + arm.pending));
  };
  double cheapest_s = std::numeric_limits<double>::infinity(), largest = 0.0;
  for (const std::string& name : eligible) {
    if (known[name].count > 0) cheapest_s = std::min(cheapest_s, mean_cost_s(known[name]));
    largest = std::max(largest, mean_reward(known[name]));
  }
  const auto value = [&](const std::string& name) {
    const Arm& arm = known[name];
    const auto n = static_cast<double>(arm.count + arm.pending);
    if (n == 0.0) return std::numeric_limits<double>::infinity();
    const double reward = largest > 0.0 ? mean_reward(arm) / largest : 0.0;
    const double relative_cost = arm.count > 0 ? mean_cost_s(arm) / cheapest_s : 1.0;
    const double bonus = exploration_ * std::sqrt(std::log(std::max(total, 2.0)) / n);
    return (reward + bonus) / std::sqrt(relative_cost);
  };
  std::vector<std::string> best;
  double best_value = -1.0;
  for (const std::string& name : eligible) {
    const double its = value(name);
    if (its > best_value) best.clear();
    if (its >= best_value) best.push_back(name);
    best_value = std::max(best_value, its);
  }
  return best.at(static_cast<size_t>(tie * static_cast<double>(best.size())));
}

}  // namespace fib::agents
