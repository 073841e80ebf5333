#pragma once

// A signature's kernels on an open device: chooses the solution of a call, plans it, keeps the plan
// with the thread, and runs it.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "integrations/package/runtime/op_shape.h"
#include "integrations/package/runtime/op_solutions.h"
#include "integrations/package/runtime/plan_cache.h"

namespace fib::package {

class Op {
 public:
  // Loads its solutions. `device` expires when the device is closed; the target outlives the op.
  static Result<std::unique_ptr<fib_kernels_op>> open(const SignatureRow& row, Target& target,
                                                      std::weak_ptr<const void> device);
  Op(OpShape shape, Target& target, std::weak_ptr<const void> device);  // without solutions
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  const SignatureRow& row() const { return shape_.row(); }
  const OpSolutions& solutions() const { return solutions_; }

  fib_kernels_status launch(const fib_kernels_call& call) const;
  fib_kernels_status launch(const fib_kernels_raw_call& call) const;
  fib_kernels_status workspace_bytes(const fib_kernels_call& call, size_t* bytes) const;
  fib_kernels_status workspace_bytes(const fib_kernels_raw_call& call, size_t* bytes) const;
  fib_kernels_status choose(const fib_kernels_call& call, fib_kernels_choice* choice) const;
  fib_kernels_status choose(const fib_kernels_raw_call& call, fib_kernels_choice* choice) const;
  fib_kernels_status query_prepare(const fib_kernels_call& call,
                                   fib_kernels_prepare_info* info) const;
  fib_kernels_status prepare(const fib_kernels_call& call, void* prepared) const;

 private:
  OpPlans& plans() const;
  // That axes and scalars are there and axes are sizes: what looking up a plan relies on.
  fib_kernels_status check_values(const fib_kernels_raw_call& call) const;
  // That there are arrays of addresses, as a launch needs.
  fib_kernels_status check_arrays(const fib_kernels_raw_call& call) const;
  // The planned call if the cache has it and it isn't running; nullptr: it is new.
  struct Lookup {
    fib_kernels_status status = FIB_KERNELS_OK;
    uint64_t hash = 0;
    CachedCall* ready = nullptr;
  };
  Lookup look_up(const fib_kernels_raw_call& call) const;
  // The planned call, from the cache or new: there or in `spare`.
  fib_kernels_status find_plan(const fib_kernels_raw_call& call, CachedCall& spare,
                               CachedCall** planned) const;
  // Plans a call that wasn't ready: in the cache or, where that has no room, in `spare`.
  fib_kernels_status plan_new(const fib_kernels_raw_call& call, uint64_t hash, CachedCall& spare,
                              CachedCall** planned) const;
  [[gnu::noinline]] fib_kernels_status launch_new(const fib_kernels_raw_call& call,
                                                  uint64_t hash) const;
  // From the candidate at that position on, the first that takes the call.
  fib_kernels_status plan(const fib_kernels_raw_call& call, size_t first,
                          CachedCall& planned) const;
  fib_kernels_status run(const fib_kernels_raw_call& call, CachedCall& cached) const;
  fib_kernels_status check_memory(const fib_kernels_raw_call& call, const CachedCall& cached) const;
  fib_kernels_status explain_memory(const fib_kernels_raw_call& call,
                                    const CachedCall& cached) const;
  fib_kernels_status refuse_null(const char* member) const;
  fib_kernels_status check_scalars(const fib_kernels_raw_call& call) const;
  Result<const PreparedLayout*> prepared_layout(std::vector<int64_t> weight_axes) const;
  fib_kernels_status refuse_all(const fib_kernels_raw_call& call, const std::string& reasons) const;

  const uint64_t id_;  // of all ops that this process has ever opened
  const OpShape shape_;
  Target& target_;
  const std::weak_ptr<const void> device_;
  OpSolutions solutions_;
  const CallKey key_;
  const Place place_;
  std::vector<uint32_t> weights_, scalars_;  // inputs
};

}  // namespace fib::package

// The C interface's name for it.
struct fib_kernels_op final : fib::package::Op {
  using Op::Op;
};
