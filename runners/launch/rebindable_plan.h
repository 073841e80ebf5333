#pragma once

// A plan that is replayed with other addresses from call to call: a layer's weights, a step's
// tensors. Addresses are written in place; a tensor map, which takes the driver a while to encode,
// is kept for each of the last bases. Making one allocates; replaying never does. One thread at a
// time.

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "runners/launch/packed_step.h"
#include "runners/launch/replayer.h"

namespace fib {

class RebindablePlan {
 public:
  // The steps of the call, those that prepare weights left out. `kernels` must outlive the plan.
  static Result<RebindablePlan> pack(const LoadedKernels& kernels, const LaunchPlan& plan,
                                     const AddressRow& row);

  // Enqueues the call, in order. `row` is as long as the one that the plan was packed for. An error
  // names the step: "launch 1, kernel 'x<4>': CUDA_ERROR_...".
  Result<void> replay(std::span<const CUdeviceptr> row, CUstream stream);

 private:
  // Encodings of one tensor map by base address.
  class KeptMaps {
   public:
    KeptMaps();
    // nullptr: not kept; then room() is where it is to be encoded to.
    const CUtensorMap* find(CUdeviceptr base) const;
    CUtensorMap* room(CUdeviceptr base);  // forgets what was there
    void keep(CUdeviceptr base);          // what was encoded to its room()

   private:
    // A base of each layer. Bases fall into sets by chance: of a hundred, nine in one set are rare,
    // five would not be. A set's bases are one cache line.
    static constexpr size_t kSets = 32, kWays = 8;
    static constexpr CUdeviceptr kNone = ~CUdeviceptr{0};
    struct Set {
      std::array<CUdeviceptr, kWays> bases;
      size_t next = 0;
    };
    static size_t set_of(CUdeviceptr base);
    std::vector<Set> sets_;
    std::unique_ptr<CUtensorMap[]> maps_;
  };

  struct Step {
    PackedStep packed;
    std::vector<KeptMaps> kept;  // by tensor map
  };
  Result<void> put_maps(Step& step, std::span<const CUdeviceptr> row);

  const CudaDriver* driver_ = nullptr;
  std::vector<Step> steps_;
};

}  // namespace fib
