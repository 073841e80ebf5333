#pragma once

// One step of a launch plan as the driver takes it. Everything is packed once; only addresses are
// put in later, and again whenever they change.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runners/launch/cuda_driver.h"
#include "runners/launch/launch_plan.h"

namespace fib {

class LoadedKernels;

// The addresses of a call in one row: its inputs, its outputs, workspace, prepared memory.
struct AddressRow {
  uint32_t num_inputs = 0, num_outputs = 0;

  uint32_t size() const { return num_inputs + num_outputs + 2; }
  uint32_t workspace() const { return num_inputs + num_outputs; }
  uint32_t prepared() const { return num_inputs + num_outputs + 1; }
  uint32_t index_of(const FibPlanPointer& pointer) const;  // of a pointer that check_plan has seen
};

// A place that an address is written to.
struct AddressSlot {
  uint32_t source = 0;  // index into the row
  int64_t byte_offset = 0;
  std::byte* at = nullptr;

  CUdeviceptr resolve(std::span<const CUdeviceptr> row) const {
    return row[source] + static_cast<CUdeviceptr>(byte_offset);
  }
};

struct TensorMapSlot {
  AddressSlot base;  // at: the CUtensorMap
  uint32_t argument = 0;
  FibPlanTensorMap map{};
};

class PackedStep {
 public:
  static Result<PackedStep> pack(const LoadedKernels& kernels, const LaunchPlan& plan, size_t step,
                                 const AddressRow& row);
  PackedStep(PackedStep&&) = default;
  PackedStep& operator=(PackedStep&&) = default;

  const std::string& name() const { return name_; }  // "launch 1, kernel 'x<4>'"
  bool is_prepare() const { return is_prepare_; }

  // Writes the addresses that kernels take as they are, and a memset's.
  void put(std::span<const CUdeviceptr> row) {
    for (const AddressSlot& slot : pointers_) {
      *reinterpret_cast<CUdeviceptr*>(slot.at) = slot.resolve(row);
    }
    if (function_ == nullptr) target_ = target_slot_.resolve(row);
  }
  std::span<const TensorMapSlot> tensor_maps() const { return tensor_maps_; }
  // Encodes a tensor map for its base. Errors name the step and the argument.
  Result<void> encode(const CudaDriver& driver, const TensorMapSlot& slot,
                      std::span<const CUdeviceptr> row, CUtensorMap* encoded) const;
  // Launches with the tensor map from there instead of from the slot's own place.
  void point_to(const TensorMapSlot& slot, const CUtensorMap* encoded) {
    arguments_[slot.argument] = const_cast<CUtensorMap*>(encoded);  // which the driver only reads
  }

  // An error names the step.
  Result<void> run(const CudaDriver& driver, CUstream stream) const {
    const CUresult result = enqueue(driver, stream);
    if (result == CUDA_SUCCESS) [[likely]]
      return {};
    return driver.check(result, name_);
  }

 private:
  PackedStep() = default;
  Result<void> pack_launch(const PlannedLaunch& launch, const AddressRow& row);
  void pack_attributes(const PlannedLaunch& launch);
  CUresult enqueue(const CudaDriver& driver, CUstream stream) const;

  std::string name_;
  bool is_prepare_ = false;
  CUfunction function_ = nullptr;  // null: a memset
  CUlaunchConfig config_{};
  std::vector<CUlaunchAttribute> attributes_;
  std::vector<std::byte> storage_;  // packed arguments, tensor maps at 64-byte boundaries
  std::vector<void*> arguments_;    // into storage_
  std::vector<AddressSlot> pointers_;
  std::vector<TensorMapSlot> tensor_maps_;
  AddressSlot target_slot_;
  CUdeviceptr target_ = 0;
  size_t bytes_ = 0;
  uint8_t value_ = 0;
};

}  // namespace fib
