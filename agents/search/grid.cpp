#include "agents/search/grid.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace fib::agents {

namespace {

// An elite and who lends it blocks where all behave alike.
constexpr size_t kPerCell = 4;

// Which of the steps, each up to and including its bound, `value` is on.
template <size_t n>
int step_of(int64_t value, const std::array<int64_t, n>& bounds) {
  return static_cast<int>(std::ranges::lower_bound(bounds, value) - bounds.begin());
}

// Where occupancy changes: a multiprocessor has 64 Ki registers and about 200 KiB of shared memory.
constexpr std::array<int64_t, 4> kRegisterSteps = {32, 64, 128, 168};
constexpr std::array<int64_t, 4> kSharedSteps = {0, 16 << 10, 48 << 10, 100 << 10};

std::vector<Elite> sorted(std::vector<Elite> elites) {
  std::ranges::sort(elites, is_better);
  return elites;
}

}  // namespace

bool is_better(const Elite& a, const Elite& b) {
  if (a.speedup_low != b.speedup_low) return a.speedup_low > b.speedup_low;
  return a.number < b.number;
}

Cell cell_of(const Behaviour& behaviour) {
  Cell cell{.bound = behaviour.bound};
  // 1e-3 and 9e-3 are one step; below 1e-9 nothing that is computed in floats differs.
  const double error = std::clamp(behaviour.relative_error, 1e-9, 1.0);
  cell.error_step = static_cast<int>(std::floor(std::log10(error)));
  if (behaviour.registers > 0) {
    cell.resource_step =
        step_of(behaviour.registers, kRegisterSteps) * static_cast<int>(kSharedSteps.size() + 1) +
        step_of(behaviour.shared_bytes, kSharedSteps);
  } else {
    // Doublings of the code from 1 KiB on.
    const double kibibytes = static_cast<double>(std::max<int64_t>(behaviour.code_bytes, 1)) / 1024;
    cell.resource_step = std::max(0, static_cast<int>(std::floor(std::log2(kibibytes))));
  }
  return cell;
}

Grid::Arrival Grid::add(const Elite& elite) {
  std::vector<Elite>& members = cells_[elite.cell];
  const bool is_new = members.empty();
  if (std::ranges::any_of(members, [&](const Elite& it) { return it.number == elite.number; })) {
    return Arrival::kNoElite;
  }
  members.insert(std::ranges::upper_bound(members, elite, is_better), elite);
  if (members.size() > kPerCell) members.pop_back();
  if (is_new) return Arrival::kNewCell;
  return members.front().number == elite.number ? Arrival::kBetterElite : Arrival::kNoElite;
}

std::vector<Elite> Grid::elites() const {
  std::vector<Elite> elites;
  for (const auto& [cell, members] : cells_) elites.push_back(members.front());
  return sorted(std::move(elites));
}

std::vector<Elite> Grid::runners_up() const {
  std::vector<Elite> others;
  for (const auto& [cell, members] : cells_) {
    others.insert(others.end(), members.begin() + 1, members.end());
  }
  return sorted(std::move(others));
}

}  // namespace fib::agents
