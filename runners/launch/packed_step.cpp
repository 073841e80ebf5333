#include "runners/launch/packed_step.h"

#include <cstring>
#include <stdexcept>

#include "runners/launch/replayer.h"

namespace fib {
namespace {

constexpr size_t kArgumentAlignment = 16;   // the largest of a kernel parameter's own

size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

uint32_t AddressRow::index_of(const FibPlanPointer& pointer) const {
  const auto index = static_cast<uint32_t>(pointer.index);
  switch (pointer.space) {
    case FIB_SPACE_INPUT:
      if (index < num_inputs) return index;
      break;
    case FIB_SPACE_OUTPUT:
      if (index < num_outputs) return num_inputs + index;
      break;
    case FIB_SPACE_WORKSPACE: return workspace();
    case FIB_SPACE_PREPARED: return prepared();
  }
  throw std::logic_error("a plan that was not checked: a pointer into nothing");
}

Result<PackedStep> PackedStep::pack(const LoadedKernels& kernels, const LaunchPlan& plan,
                                    size_t step, const AddressRow& row) {
  PackedStep packed;
  packed.name_ = describe_step(plan, step);
  if (const auto* launch = std::get_if<PlannedLaunch>(&plan.steps[step])) {
    packed.is_prepare_ = launch->is_prepare;
    packed.function_ = kernels.find(launch->kernel);
    if (!packed.function_) return fail(ErrorCode::kNotFound, packed.name_ + ": no such kernel");
    FIB_CHECK(packed.pack_launch(*launch, row));
    return packed;
  }
  const auto& memset = std::get<PlannedMemset>(plan.steps[step]);
  packed.is_prepare_ = memset.is_prepare;
  packed.target_slot_ = {.source = row.index_of(memset.target),
                         .byte_offset = memset.target.byte_offset};
  packed.bytes_ = memset.bytes;
  packed.value_ = memset.value;
  return packed;
}

Result<void> PackedStep::pack_launch(const PlannedLaunch& launch, const AddressRow& row) {
  // Two passes: storage must not move once arguments point into it.
  std::vector<size_t> offsets;
  size_t size = 0;
  for (const PlannedArgument& argument : launch.arguments) {
    size_t bytes = sizeof(CUdeviceptr), alignment = kArgumentAlignment;
    if (const auto* value = std::get_if<std::vector<std::byte>>(&argument.value)) {
      bytes = value->size();
    } else if (std::holds_alternative<FibPlanTensorMap>(argument.value)) {
      bytes = sizeof(CUtensorMap);
      alignment = kTensorMapAlignment;
    }
    offsets.push_back(round_up(size, alignment));
    size = offsets.back() + bytes;
  }
  storage_.resize(size + kTensorMapAlignment);
  std::byte* base = storage_.data();
  base += round_up(reinterpret_cast<uintptr_t>(base), kTensorMapAlignment) -
          reinterpret_cast<uintptr_t>(base);
  for (size_t i = 0; i < launch.arguments.size(); ++i) {
    std::byte* at = base + offsets[i];
    const auto& value = launch.arguments[i].value;
    if (const auto* pointer = std::get_if<FibPlanPointer>(&value)) {
      pointers_.push_back({row.index_of(*pointer), pointer->byte_offset, at});
    } else if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value)) {
      std::memcpy(at, bytes->data(), bytes->size());
    } else {
      const auto& map = std::get<FibPlanTensorMap>(value);
      tensor_maps_.push_back({.base = {row.index_of(map.base), map.base.byte_offset, at},
                              .argument = static_cast<uint32_t>(i),
                              .map = map});
    }
    arguments_.push_back(at);
  }
  pack_attributes(launch);
  return {};
}

void PackedStep::pack_attributes(const PlannedLaunch& launch) {
  const auto add = [&](CUlaunchAttributeID id) -> CUlaunchAttributeValue& {
    CUlaunchAttribute& attribute = attributes_.emplace_back();
    attribute = {};
    attribute.id = id;
    return attribute.value;
  };
  if (launch.cluster[0] > 0) {
    add(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION).clusterDim = {launch.cluster[0], launch.cluster[1],
                                                             launch.cluster[2]};
  }
  if (launch.is_cooperative) add(CU_LAUNCH_ATTRIBUTE_COOPERATIVE).cooperative = 1;
  if (launch.is_programmatic) {
    add(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
        .programmaticStreamSerializationAllowed = 1;
  }
  config_.gridDimX = launch.grid[0];
  config_.gridDimY = launch.grid[1];
  config_.gridDimZ = launch.grid[2];
  config_.blockDimX = launch.block[0];
  config_.blockDimY = launch.block[1];
  config_.blockDimZ = launch.block[2];
  config_.sharedMemBytes = launch.shared_bytes;
  config_.numAttrs = static_cast<unsigned>(attributes_.size());
}

Result<void> PackedStep::encode(const CudaDriver& driver, const TensorMapSlot& slot,
                                std::span<const CUdeviceptr> row, CUtensorMap* encoded) const {
  const FibPlanTensorMap& map = slot.map;
  const CUresult result = driver.cuTensorMapEncodeTiled(
      encoded, static_cast<CUtensorMapDataType>(map.dtype), map.rank,
      reinterpret_cast<void*>(slot.base.resolve(row)), map.size, map.stride_bytes, map.box,
      map.element_stride, static_cast<CUtensorMapInterleave>(map.interleave),
      static_cast<CUtensorMapSwizzle>(map.swizzle),
      static_cast<CUtensorMapL2promotion>(map.l2_promotion),
      static_cast<CUtensorMapFloatOOBfill>(map.oob_fill));
  if (result == CUDA_SUCCESS) return {};
  return driver.check(
      result, name_ + ", argument " + std::to_string(slot.argument) + ": tensor map refused");
}

CUresult PackedStep::enqueue(const CudaDriver& driver, CUstream stream) const {
  if (!function_) {
    return bytes_ == 0 ? CUDA_SUCCESS : driver.cuMemsetD8Async(target_, value_, bytes_, stream);
  }
  CUlaunchConfig config = config_;
  config.hStream = stream;
  // The driver reads attributes and arguments, it does not write them.
  config.attrs = const_cast<CUlaunchAttribute*>(attributes_.data());
  return driver.cuLaunchKernelEx(&config, function_, const_cast<void**>(arguments_.data()),
                                 nullptr);
}

}  // namespace fib
