#pragma once

// The inputs of one call: for each input of a Problem where its values come from. Integer structure
// (page tables, routing) is always explicit bytes and the same in every value set of a workload;
// floating values are generated from the set's seed.

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "signatures/problem.h"
#include "signatures/tensor_source.h"
#include "workloads/generator.h"

namespace fib {

// Shared, immutable bytes of an input in row-major order.
using InputBytes = std::shared_ptr<const std::vector<std::byte>>;

struct InputValue {
  TensorDesc desc;
  // Generated; explicit bytes; or the value of a host scalar.
  std::variant<Generated, InputBytes, double> source;
};

struct InputSet {
  std::vector<InputValue> values;  // one an input, calling order
  uint64_t seed = 0;
};

struct InputOptions {
  uint64_t seed = 0;  // of the floating values
  // Structure seed: routing, page tables. 0: derived from the workload's id, so that a workload
  // means the same traffic on every machine.
  uint64_t structure_seed = 0;
};

// Loads blobs, synthesises what is missing, checks indices against their bounds: an out-of-range
// index in a captured blob is an error that names tensor, position and value before any kernel
// reads it. Blobs whose ids all lie in [1, num_pages] (captures with 1-based pages) keep their
// meaning: num_pages grows by what the largest id needs, and `notes` says so.
struct InputPlan {
  Problem problem;                    // axes possibly widened, see above
  std::vector<InputValue> structure;  // values of explicit inputs; Generated ones with seed 0
  std::vector<std::string> notes;     // what was synthesised or adjusted, for the verdict's log
};
Result<InputPlan> plan_inputs(const Problem& problem, uint64_t structure_seed = 0);

// A value set: the plan's structure with generated values under `seed`. Cheap.
InputSet with_seed(const InputPlan& plan, uint64_t seed);

std::vector<std::unique_ptr<TensorSource>> open_sources(const InputSet& inputs);

}  // namespace fib
