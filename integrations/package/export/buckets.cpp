#include "integrations/package/export/buckets.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

namespace fib {
namespace {

using Derivations = std::map<std::string, std::set<std::string>>;  // axis -> what it follows from

bool follows_from(const Derivations& derivations, const std::string& axis,
                  const std::string& source) {
  if (axis == source) return true;
  const auto found = derivations.find(axis);
  if (found == derivations.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const std::string& name) {
    return follows_from(derivations, name, source);
  });
}

// Axes that constraints define by other axes alone. An axis that is tied to an input's values
// (total_q == qo_indptr[-1]) is a size in its own right.
Derivations derived_axes(const Signature& signature) {
  Derivations derivations;
  const auto is_var_axis = [&](std::string_view name) {
    const Axis* axis = signature.find_axis(name);
    return axis != nullptr && axis->kind == Axis::Kind::kVar;
  };
  for (const Expression& constraint : signature.constraints) {
    const auto definition = constraint.as_axis_definition(is_var_axis);
    if (!definition) continue;
    const auto& [axis, expression] = *definition;
    const bool is_over_axes = std::all_of(
        expression.names().begin(), expression.names().end(), [&](const std::string& name) {
          // Of two axes that follow from each other one has to be looked at.
          return signature.find_axis(name) != nullptr && !follows_from(derivations, name, axis);
        });
    if (is_over_axes) derivations.emplace(axis, expression.names());
  }
  return derivations;
}

bool contains(const Region& region, const Cell& cell) {
  for (size_t axis = 0; axis < cell.size(); ++axis) {
    if (cell[axis] < region.low[axis] || cell[axis] > region.high[axis]) return false;
  }
  return true;
}

bool overlap(const Region& a, const Region& b) {
  for (size_t axis = 0; axis < a.low.size(); ++axis) {
    if (a.low[axis] > b.high[axis] || b.low[axis] > a.high[axis]) return false;
  }
  return true;
}

class Merger {
 public:
  explicit Merger(const std::map<Cell, std::optional<size_t>>& choices) : choices_(choices) {
    for (const auto& [cell, choice] : choices) {
      if (choice) regions_.push_back({cell, cell, *choice, {cell}});
    }
  }

  std::vector<Region> run() && {
    while (merge_any()) {
    }
    std::sort(regions_.begin(), regions_.end(),
              [](const Region& a, const Region& b) { return a.low < b.low; });
    return std::move(regions_);
  }

 private:
  bool merge_any() {
    const size_t num_axes = regions_.empty() ? 0 : regions_.front().low.size();
    for (size_t axis = 0; axis < num_axes; ++axis) {
      for (size_t a = 0; a < regions_.size(); ++a) {
        const auto b = next_along(axis, a);
        if (b && try_merge(a, *b)) return true;
      }
    }
    return false;
  }

  // The nearest region above `a` along the axis that is as wide along all others.
  std::optional<size_t> next_along(size_t axis, size_t a) const {
    std::optional<size_t> nearest;
    for (size_t b = 0; b < regions_.size(); ++b) {
      if (regions_[b].low[axis] <= regions_[a].high[axis] || !is_aligned(axis, a, b)) continue;
      if (!nearest || regions_[b].low[axis] < regions_[*nearest].low[axis]) nearest = b;
    }
    return nearest;
  }

  bool is_aligned(size_t axis, size_t a, size_t b) const {
    const Region &x = regions_[a], &y = regions_[b];
    for (size_t other = 0; other < x.low.size(); ++other) {
      if (other != axis && (x.low[other] != y.low[other] || x.high[other] != y.high[other])) {
        return false;
      }
    }
    return true;
  }

  bool try_merge(size_t a, size_t b) {
    if (regions_[a].choice != regions_[b].choice) return false;
    Region merged{regions_[a].low, regions_[b].high, regions_[a].choice, regions_[a].measured};
    for (size_t i = 0; i < regions_.size(); ++i) {
      if (i != a && i != b && overlap(merged, regions_[i])) return false;
    }
    for (const auto& [cell, choice] : choices_) {
      if (!choice && contains(merged, cell)) return false;
    }
    merged.measured.insert(merged.measured.end(), regions_[b].measured.begin(),
                           regions_[b].measured.end());
    std::sort(merged.measured.begin(), merged.measured.end());
    regions_[a] = std::move(merged);
    regions_.erase(regions_.begin() + static_cast<ptrdiff_t>(b));
    return true;
  }

  const std::map<Cell, std::optional<size_t>>& choices_;
  std::vector<Region> regions_;
};

}  // namespace

std::vector<std::string> bucket_axes(const Signature& signature) {
  const Derivations derived = derived_axes(signature);
  std::vector<std::string> axes;
  for (const Axis& axis : signature.axes) {
    if (axis.kind == Axis::Kind::kVar && !signature.is_capacity(axis.name) &&
        !derived.contains(axis.name)) {
      axes.push_back(axis.name);
    }
  }
  return axes;
}

int size_bucket(int64_t size) {
  return size == 0 ? 0 : std::bit_width(static_cast<uint64_t>(size) - 1) + 1;
}
int64_t lowest_size(int bucket) { return bucket <= 2 ? bucket : highest_size(bucket - 1) + 1; }
int64_t highest_size(int bucket) {
  return bucket == 0 ? 0 : static_cast<int64_t>(uint64_t{1} << (bucket - 1));
}

int64_t Region::num_cells() const {
  int64_t cells = 1;
  for (size_t axis = 0; axis < low.size(); ++axis) cells *= high[axis] - low[axis] + 1;
  return cells;
}

std::vector<Region> merge_cells(const std::map<Cell, std::optional<size_t>>& choices) {
  return Merger(choices).run();
}

std::vector<AxisInterval> intervals_of(const std::vector<std::string>& axes, const Cell& low,
                                       const Cell& high) {
  std::vector<AxisInterval> intervals;
  for (size_t i = 0; i < axes.size(); ++i) {
    intervals.push_back({axes[i], lowest_size(low[i]), highest_size(high[i])});
  }
  return intervals;
}

std::string describe_intervals(const std::vector<AxisInterval>& intervals) {
  if (intervals.empty()) return "any shape";
  std::string text;
  for (const AxisInterval& interval : intervals) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", interval.axis, interval.low);
    if (interval.high != interval.low) text += fmt::format("..{}", interval.high);
  }
  return text;
}

}  // namespace fib
