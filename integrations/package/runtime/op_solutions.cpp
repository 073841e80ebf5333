#include "integrations/package/runtime/op_solutions.h"

#include <algorithm>

namespace fib::package {
namespace {

bool contains(const BucketRow& bucket, std::span<const int64_t> varying) {
  for (size_t i = 0; i < bucket.ranges.size && i < varying.size(); ++i) {
    if (varying[i] < bucket.ranges[i].low || varying[i] > bucket.ranges[i].high) return false;
  }
  return true;
}

}  // namespace

Result<OpSolutions> OpSolutions::load(const OpShape& shape, Target& target) {
  const SignatureRow& row = shape.row();
  OpSolutions solutions;
  solutions.loaded_.resize(row.solutions.size);
  solutions.fallback_ = target.fallback(row);
  for (const HardwareRow& hardware : row.hardware) {
    if (hardware.hardware == target.hardware()) solutions.buckets_ = hardware.buckets;
  }
  const auto load = [&](uint32_t index) -> Result<void> {
    std::unique_ptr<Solution>& loaded = solutions.loaded_.at(index);
    if (!loaded) loaded = FIB_TRY(target.load(shape, row.solutions[index]));
    return {};
  };
  for (const BucketRow& bucket : solutions.buckets_) FIB_CHECK(load(bucket.solution));
  for (const uint32_t index : solutions.fallback_) FIB_CHECK(load(index));
  return solutions;
}

std::vector<Candidate> OpSolutions::candidates(std::span<const int64_t> varying) const {
  std::vector<Candidate> candidates;
  const auto add = [&](uint32_t index, bool is_winner) {
    const Solution* const solution = loaded_[index].get();
    const bool is_known = std::any_of(candidates.begin(), candidates.end(),
                                      [&](const Candidate& c) { return c.solution == solution; });
    if (solution != nullptr && !is_known) candidates.push_back({solution, index, is_winner});
  };
  for (const BucketRow& bucket : buckets_) {
    if (contains(bucket, varying)) add(bucket.solution, true);
  }
  for (const uint32_t index : fallback_) add(index, false);
  return candidates;
}

bool OpSolutions::empty() const {
  return std::none_of(loaded_.begin(), loaded_.end(), [](const auto& s) { return s != nullptr; });
}

bool OpSolutions::has_winners() const {
  return std::any_of(buckets_.begin(), buckets_.end(),
                     [&](const BucketRow& bucket) { return loaded_[bucket.solution] != nullptr; });
}

}  // namespace fib::package
