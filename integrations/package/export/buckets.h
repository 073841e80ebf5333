#pragma once

// How calls are sorted by shape when kernels are chosen: not by exact sizes but by powers of two of
// those axes that say how much work a call is. docs/package.md, "Selection", tells the same in
// words.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "integrations/package/export/package_spec.h"
#include "signatures/signature.h"

namespace fib {

// The axes that are looked at, in the signature's order: those that vary, but for capacities and
// those that a constraint derives from other axes (len_indptr == batch_size + 1).
std::vector<std::string> bucket_axes(const Signature& signature);

// Sizes 0, 1, 2, 3..4, 5..8, 9..16 and so on are buckets 0, 1, 2, 3, 4, 5. `size` is not negative.
int size_bucket(int64_t size);
int64_t lowest_size(int bucket);
int64_t highest_size(int bucket);

// A bucket for each of bucket_axes().
using Cell = std::vector<int>;

// Cells low[i]..high[i] of each axis i.
struct Region {
  Cell low, high;
  size_t choice = 0;
  std::vector<Cell> measured;  // of its cells, in order
  int64_t num_cells() const;
};

// The cells that chose something, joined with neighbours that chose the same. Cells that were not
// measured go with a region only where it has measured ones on both sides of them along an axis; so
// nothing reaches beyond what was measured. No region holds a measured cell of another choice, or
// of none; no two overlap.
std::vector<Region> merge_cells(const std::map<Cell, std::optional<size_t>>& choices);

std::vector<AxisInterval> intervals_of(const std::vector<std::string>& axes, const Cell& low,
                                       const Cell& high);

// "batch_size 9..16, total_q 1"; "any shape" where no axis is looked at.
std::string describe_intervals(const std::vector<AxisInterval>& intervals);

}  // namespace fib
