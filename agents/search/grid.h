#pragma once

// The quality-diversity grid of an island, after MAP-Elites: behaviours that matter are divided
// into cells, and each cell remembers the fastest that behaved like that. What is slower than the
// best but computes more exactly, or takes fewer registers, stays at hand as a parent.

#include <cstdint>
#include <map>
#include <vector>

#include "agents/search/search.h"

namespace fib::agents {

// Right, and fast by the lower end of its interval: a lucky wide interval wins nothing.
struct Elite {
  int64_t number = 0;
  double speedup_low = 0.0;
  Cell cell;
};
// Faster, or as fast and earlier.
bool is_better(const Elite& a, const Elite& b);

class Grid {
 public:
  enum class Arrival { kNoElite, kNewCell, kBetterElite };
  Arrival add(const Elite& elite);

  bool empty() const { return cells_.empty(); }
  // One a cell, best first.
  std::vector<Elite> elites() const;
  // Those behind the elites of their cells, best first.
  std::vector<Elite> runners_up() const;

 private:
  std::map<Cell, std::vector<Elite>> cells_;  // best first, a few each
};

}  // namespace fib::agents
