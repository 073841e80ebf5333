#pragma once

// Calls that a thread has planned, found again by what their plans depend on. Each thread has its
// own for each op, so that a call takes no lock and what it found stays until the thread itself
// puts something else there.

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "integrations/package/runtime/op_shape.h"
#include "integrations/package/runtime/prepared_layout.h"
#include "integrations/package/runtime/solution.h"

namespace fib::package {

// What the plan of a call depends on: varying axes, whether it brings prepared weights and, on
// devices whose plans are made by value, host scalars and the host copies of inputs.
class CallKey {
 public:
  CallKey(const OpShape& shape, const Target& target);

  // Of a call whose arrays are there and whose axes are sizes.
  uint64_t hash(const fib_kernels_raw_call& call) const;
  std::vector<std::byte> bytes(const fib_kernels_raw_call& call) const;
  bool equals(const std::vector<std::byte>& bytes, const fib_kernels_raw_call& call) const;

 private:
  struct HostInput {
    uint32_t input = 0;
    uint32_t bits = 0;
    uint32_t ndim = 0;
    std::array<uint8_t, kMaxRank> slot{};
  };
  size_t bytes_of(const HostInput& input, const int64_t* axes) const;
  static const void* host_copy(const HostInput& input, const fib_kernels_raw_call& call) {
    return call.host_inputs == nullptr ? nullptr : call.host_inputs[input.input];
  }
  uint64_t flags(const fib_kernels_raw_call& call) const;

  size_t num_axes_ = 0;
  std::vector<int64_t> constants_;  // by slot - num_axes_
  std::vector<uint32_t> scalars_;   // inputs
  std::vector<HostInput> host_inputs_;
};

struct CachedCall {
  std::vector<std::byte> key;
  std::unique_ptr<PlannedCall> planned;
  size_t candidate = 0;         // position among the call's candidates
  size_t workspace_bytes = 0;   // of this candidate and those that may still stand in for it
  size_t prepared_offset = 0;   // of the solution's part
  size_t prepared_total = 0;    // of the block that holds all parts
  bool wants_prepared = false;  // a better one was passed over for want of prepared weights
  bool is_running = false;      // a kernel on the CPU may make calls of its own
};

class PlanCache {
 public:
  CachedCall* find(uint64_t hash, const CallKey& key, const fib_kernels_raw_call& call);
  // In place of the one that was used longest ago. nullptr, and the call is left as it was, where
  // all that could make room are running.
  CachedCall* insert(uint64_t hash, CachedCall&& call);

 private:
  static constexpr size_t kSets = 16, kWays = 4;
  struct Set {
    std::array<uint64_t, kWays> hashes{};
    std::array<uint64_t, kWays> used{};
    std::array<std::unique_ptr<CachedCall>, kWays> calls;
  };
  uint64_t clock_ = 0;
  std::array<Set, kSets> sets_;
};

// What a thread keeps of one op.
struct OpPlans {
  uint64_t op = 0;
  std::weak_ptr<const void> device;  // gone once the device is closed
  PlanCache cache;
  // Of the weights' shapes that were seen last; all axes that no weight shows are 1.
  std::vector<int64_t> prepared_axes;
  PreparedLayout prepared;
};

// This thread's plans of the op with that id, which no other op ever has; found without allocating
// once they exist. Those of closed devices are freed when a thread meets a new op, and at its end.
OpPlans* find_op_plans(uint64_t op);
OpPlans& add_op_plans(uint64_t op, std::weak_ptr<const void> device);

}  // namespace fib::package
