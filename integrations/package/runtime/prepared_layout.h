#pragma once

// The one block of memory that holds what all solutions of an op make of its weights.

#include <vector>

#include "integrations/package/runtime/op_solutions.h"

namespace fib::package {

// Of workspace, prepared weights and their parts.
inline constexpr size_t kMemoryAlignment = FIB_KERNELS_MEMORY_ALIGNMENT;

struct PreparedLayout {
  struct Part {
    size_t offset = 0;
    size_t bytes = 0;  // 0: the solution has no such step
  };
  std::vector<Part> parts;  // by index into SignatureRow::solutions
  size_t bytes = 0;
  size_t workspace_bytes = 0;  // of the step that needs most
  bool replaces_originals = false;
};

// For weights of these axes, 1 where they don't show one: weights laid out in different ways for
// different calls would have to be kept as often. A solution that refuses such a call gets no part.
Result<PreparedLayout> lay_out_prepared(const OpSolutions& solutions,
                                        std::span<const int64_t> axes);

}  // namespace fib::package
