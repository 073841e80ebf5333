#pragma once

// Who is asked next: a bandit over proposers.
//
// What a proposer is worth changes while the search goes on: tuning pays at first, then its space
// is tried out, and a rewrite opens a new one. So the bandit is a sliding-window UCB (Garivier and
// Moulines, 2011): only the last candidates count, and whoever hasn't been asked among them is
// asked. A proposer that never helps is thus asked rarely, but never never. Each is valued at
//
//   (mean reward / largest mean + exploration * sqrt(ln N / n)) / sqrt(cost / smallest cost)
//
// over the window's N askings, n of them its own. Rewards count in relation to the largest, because
// they become small for everybody as a search gets on. The root of the cost makes proposers of whom
// nothing tells which is better share time rather than numbers: n is then inverse to the cost.
// Those asked whose fate isn't known yet count as asked, without a reward, or all in flight would
// go to one.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fib::agents {

class ProposerBandit {
 public:
  explicit ProposerBandit(double exploration) : exploration_(exploration) {}

  // `reward` in [0, 1].
  void record(const std::string& proposer, double reward, double cost_s);
  // One of `eligible`; `asked` are those in flight. `tie` in [0, 1) decides between equals.
  std::string choose(std::span<const std::string> eligible, std::span<const std::string> asked,
                     double tie) const;

 private:
  struct Asking {
    std::string proposer;
    double reward = 0.0, cost_s = 0.0;
  };
  struct Arm {
    int64_t count = 0, pending = 0;
    double reward = 0.0, cost_s = 0.0;  // sums
  };
  std::map<std::string, Arm> arms(std::span<const std::string> asked) const;

  double exploration_;
  std::deque<Asking> window_;
};

}  // namespace fib::agents
