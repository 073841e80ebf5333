#include "runners/launch/rebindable_plan.h"

#include <algorithm>

namespace fib {

RebindablePlan::KeptMaps::KeptMaps()
    : sets_(kSets), maps_(std::make_unique<CUtensorMap[]>(kSets * kWays)) {
  for (Set& set : sets_) set.bases.fill(kNone);
}

// Allocations begin at round addresses: the upper half of a product depends on all of its bits.
size_t RebindablePlan::KeptMaps::set_of(CUdeviceptr base) {
  return (base * 0x9e3779b97f4a7c15u) >> 59;
}

const CUtensorMap* RebindablePlan::KeptMaps::find(CUdeviceptr base) const {
  const size_t set = set_of(base);
  for (size_t way = 0; way < kWays; ++way) {
    if (sets_[set].bases[way] == base) return &maps_[set * kWays + way];
  }
  return nullptr;
}

CUtensorMap* RebindablePlan::KeptMaps::room(CUdeviceptr base) {
  const size_t index = set_of(base);
  Set& set = sets_[index];
  set.bases[set.next] = kNone;
  return &maps_[index * kWays + set.next];
}

void RebindablePlan::KeptMaps::keep(CUdeviceptr base) {
  Set& set = sets_[set_of(base)];
  set.bases[set.next] = base;
  set.next = (set.next + 1) % kWays;
}

Result<RebindablePlan> RebindablePlan::pack(const LoadedKernels& kernels, const LaunchPlan& plan,
                                            const AddressRow& row) {
  RebindablePlan rebindable;
  rebindable.driver_ = &kernels.driver();
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    PackedStep packed = FIB_TRY(PackedStep::pack(kernels, plan, i, row));
    if (packed.is_prepare()) continue;
    std::vector<KeptMaps> kept(packed.tensor_maps().size());
    rebindable.steps_.push_back({std::move(packed), std::move(kept)});
  }
  return rebindable;
}

Result<void> RebindablePlan::put_maps(Step& step, std::span<const CUdeviceptr> row) {
  const std::span<const TensorMapSlot> slots = step.packed.tensor_maps();
  for (size_t i = 0; i < slots.size(); ++i) {
    const CUdeviceptr base = slots[i].base.resolve(row);
    const CUtensorMap* encoded = step.kept[i].find(base);
    if (encoded == nullptr) {
      CUtensorMap* const room = step.kept[i].room(base);
      FIB_CHECK(step.packed.encode(*driver_, slots[i], row, room));
      step.kept[i].keep(base);
      encoded = room;
    }
    step.packed.point_to(slots[i], encoded);
  }
  return {};
}

Result<void> RebindablePlan::replay(std::span<const CUdeviceptr> row, CUstream stream) {
  // All tensor maps before the first launch: nothing is enqueued of a call that can't be bound.
  for (Step& step : steps_) {
    step.packed.put(row);
    if (!step.kept.empty()) FIB_CHECK(put_maps(step, row));
  }
  for (const Step& step : steps_) FIB_CHECK(step.packed.run(*driver_, stream));
  return {};
}

}  // namespace fib
