#pragma once

// The seam between the two kinds of device: a solution that runs on an open device, the calls it
// has planned, and the device itself.

#include <memory>
#include <span>
#include <string>

#include "integrations/package/runtime/op_shape.h"
#include "integrations/package/runtime/package_table.h"
#include "signatures/base/result.h"

namespace fib::package {

// What a solution is told of a call before it runs: sizes and values, no addresses.
struct CallFacts {
  std::span<const int64_t> axes;             // all of them, in the signature's order
  const double* scalars = nullptr;           // [num_inputs], or null
  const void* const* host_inputs = nullptr;  // [num_inputs], or null; each may be null
};

// A solution's answer to one shape: everything but the addresses. Used by one thread.
class PlannedCall {
 public:
  virtual ~PlannedCall() = default;
  // Puts the addresses in and enqueues, allocating nothing. FIB_KERNELS_UNSUPPORTED: the solution
  // refuses the call after all.
  virtual fib_kernels_status run(const fib_kernels_raw_call& call, void* prepared) = 0;

  size_t workspace_bytes = 0;
  size_t prepared_bytes = 0;      // of the solution's own part; 0: none is read
  uint32_t reads = ~uint32_t{0};  // a bit an input that the call itself reads
};

// What the prepare step of a solution needs and does.
struct PrepareNeeds {
  size_t bytes = 0;  // 0: it has no such step
  size_t workspace_bytes = 0;
  bool replaces_originals = false;
};

// Const and without state: all threads use it at once.
class Solution {
 public:
  explicit Solution(const SolutionRow& row) : row_(row) {}
  virtual ~Solution() = default;
  Solution(const Solution&) = delete;
  Solution& operator=(const Solution&) = delete;
  const SolutionRow& row() const { return row_; }

  // kUnsupported with the solution's own reason where it refuses the call.
  virtual Result<std::unique_ptr<PlannedCall>> plan(const CallFacts& facts) const = 0;
  virtual Result<PrepareNeeds> prepare_needs(const CallFacts& facts) const = 0;
  // Enqueues it. Of `call` the weights among the inputs, the workspace and the stream are used.
  virtual Result<void> prepare(const CallFacts& facts, const fib_kernels_raw_call& call,
                               void* prepared) const = 0;

 private:
  const SolutionRow& row_;
};

// An open CPU or card.
class Target {
 public:
  virtual ~Target() = default;
  virtual Place place() const = 0;
  virtual const std::string& hardware() const = 0;  // as boards name it
  virtual Rows<uint32_t> fallback(const SignatureRow& row) const = 0;
  // Whether plans depend on values of host scalars and of host-visible inputs.
  virtual bool plans_by_value() const = 0;
  // Whether a planned call may still be refused when it is run.
  virtual bool refuses_at_run() const = 0;
  // nullptr: no code of it runs here. The shape outlives the solution.
  virtual Result<std::unique_ptr<Solution>> load(const OpShape& shape, const SolutionRow& row) = 0;
};

}  // namespace fib::package
