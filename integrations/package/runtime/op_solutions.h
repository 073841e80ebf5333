#pragma once

// The solutions of a signature that run on a device, and which of them serves what.

#include <memory>
#include <span>
#include <vector>

#include "integrations/package/runtime/solution.h"

namespace fib::package {

struct Candidate {
  const Solution* solution = nullptr;
  size_t index = 0;  // into SignatureRow::solutions
  bool is_winner = false;
};

class OpSolutions {
 public:
  // Loads what may serve calls on the target: winners on its hardware, and fallbacks.
  static Result<OpSolutions> load(const OpShape& shape, Target& target);

  // For calls of these varying axes, best first: the winner of their bucket, then the fallbacks.
  std::vector<Candidate> candidates(std::span<const int64_t> varying) const;

  // By index into SignatureRow::solutions; null: nothing of it runs here, or nothing asks for it.
  std::span<const std::unique_ptr<Solution>> all() const { return loaded_; }
  bool empty() const;
  bool has_winners() const;

 private:
  std::vector<std::unique_ptr<Solution>> loaded_;
  Rows<BucketRow> buckets_;
  Rows<uint32_t> fallback_;
};

}  // namespace fib::package
