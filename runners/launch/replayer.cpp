#include "runners/launch/replayer.h"

#include <algorithm>
#include <cstring>

namespace fib {
namespace {

constexpr size_t kTensorMapAlignment = 64;  // CUtensorMap, as the driver requires
constexpr size_t kArgumentAlignment = 16;   // the largest of a kernel parameter's own
constexpr uint32_t kPortableCluster = 8;    // larger ones need an opt-in

size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

uint32_t cluster_size(const PlannedLaunch& launch) {
  return launch.cluster[0] * launch.cluster[1] * launch.cluster[2];
}

CUdeviceptr resolve(const FibPlanPointer& pointer, const PlanAddresses& addresses) {
  const auto of = [&](const std::vector<CUdeviceptr>& list) {
    return list.at(static_cast<size_t>(pointer.index));
  };
  CUdeviceptr base = 0;
  switch (pointer.space) {
    case FIB_SPACE_INPUT: base = of(addresses.inputs); break;
    case FIB_SPACE_OUTPUT: base = of(addresses.outputs); break;
    case FIB_SPACE_WORKSPACE: base = addresses.workspace; break;
    default: base = addresses.prepared; break;
  }
  return base + static_cast<CUdeviceptr>(pointer.byte_offset);
}

Result<CUtensorMap> encode(const CudaDriver& driver, const FibPlanTensorMap& map,
                           const PlanAddresses& addresses) {
  CUtensorMap encoded;
  const CUresult result = driver.cuTensorMapEncodeTiled(
      &encoded, static_cast<CUtensorMapDataType>(map.dtype), map.rank,
      reinterpret_cast<void*>(resolve(map.base, addresses)), map.size, map.stride_bytes, map.box,
      map.element_stride, static_cast<CUtensorMapInterleave>(map.interleave),
      static_cast<CUtensorMapSwizzle>(map.swizzle),
      static_cast<CUtensorMapL2promotion>(map.l2_promotion),
      static_cast<CUtensorMapFloatOOBfill>(map.oob_fill));
  FIB_CHECK(driver.check(result, "tensor map refused"));
  return encoded;
}

}  // namespace

Result<LoadedKernels> LoadedKernels::load(CudaDriverPtr driver, std::span<const std::byte> cubin,
                                          const LoweredNames& names) {
  LoadedKernels loaded;
  loaded.driver_ = std::move(driver);
  const CudaDriver& cuda = *loaded.driver_;
  FIB_CHECK(cuda.check(cuda.cuModuleLoadData(&loaded.module_, cubin.data()),
                       "the device binary does not load"));
  for (const auto& [name, symbol] : names) {
    CUfunction function = nullptr;
    if (cuda.cuModuleGetFunction(&function, loaded.module_, symbol.c_str()) != CUDA_SUCCESS) {
      return fail(ErrorCode::kNotFound, "kernel '" + name + "' is not in the device binary");
    }
    loaded.functions_.emplace(name, function);
  }
  return loaded;
}

LoadedKernels::LoadedKernels(LoadedKernels&& other) noexcept
    : driver_(std::move(other.driver_)),
      module_(std::exchange(other.module_, nullptr)),
      functions_(std::move(other.functions_)) {}

LoadedKernels& LoadedKernels::operator=(LoadedKernels&& other) noexcept {
  std::swap(driver_, other.driver_);
  std::swap(module_, other.module_);
  std::swap(functions_, other.functions_);
  return *this;
}

LoadedKernels::~LoadedKernels() {
  if (module_) driver_->cuModuleUnload(module_);
}

CUfunction LoadedKernels::find(std::string_view name) const {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : found->second;
}

Result<void> LoadedKernels::allow(const LaunchPlan& plan) const {
  for (size_t step = 0; step < plan.steps.size(); ++step) {
    const auto* launch = std::get_if<PlannedLaunch>(&plan.steps[step]);
    if (!launch) continue;
    const CUfunction function = find(launch->kernel);
    if (!function) {
      return fail(ErrorCode::kNotFound, describe_step(plan, step) + ": no such kernel");
    }
    // Only ever raised, so that earlier plans of the same kernels stay launchable.
    int allowed = 0;
    driver_->cuFuncGetAttribute(&allowed, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function);
    if (launch->shared_bytes > static_cast<uint32_t>(allowed)) {
      FIB_CHECK(driver_->check(
          driver_->cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      static_cast<int>(launch->shared_bytes)),
          describe_step(plan, step) + ": " + std::to_string(launch->shared_bytes) +
              " bytes of dynamic shared memory"));
    }
    if (cluster_size(*launch) > kPortableCluster) {
      FIB_CHECK(driver_->check(
          driver_->cuFuncSetAttribute(function,
                                      CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1),
          describe_step(plan, step) + ": cluster of " + std::to_string(cluster_size(*launch))));
    }
  }
  return {};
}

Result<BoundPlan::Step> BoundPlan::bind_launch(const LoadedKernels& kernels,
                                               const PlannedLaunch& launch,
                                               const PlanAddresses& addresses, std::string name) {
  Step step;
  step.function = kernels.find(launch.kernel);
  if (!step.function) return fail(ErrorCode::kNotFound, name + ": no such kernel");

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
  step.storage.resize(size + kTensorMapAlignment);
  std::byte* base = step.storage.data();
  base += round_up(reinterpret_cast<uintptr_t>(base), kTensorMapAlignment) -
          reinterpret_cast<uintptr_t>(base);
  for (size_t i = 0; i < launch.arguments.size(); ++i) {
    std::byte* at = base + offsets[i];
    const auto& value = launch.arguments[i].value;
    if (const auto* pointer = std::get_if<FibPlanPointer>(&value)) {
      const CUdeviceptr address = resolve(*pointer, addresses);
      std::memcpy(at, &address, sizeof address);
    } else if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value)) {
      std::memcpy(at, bytes->data(), bytes->size());
    } else {
      auto map = encode(kernels.driver(), std::get<FibPlanTensorMap>(value), addresses);
      if (!map) {
        return fail(map.error().code, name + ", argument " + std::to_string(i) + ": " +
                                          map.error().message);
      }
      std::memcpy(at, &*map, sizeof *map);
    }
    step.arguments.push_back(at);
  }

  CUlaunchConfig& config = step.config;
  config.gridDimX = launch.grid[0];
  config.gridDimY = launch.grid[1];
  config.gridDimZ = launch.grid[2];
  config.blockDimX = launch.block[0];
  config.blockDimY = launch.block[1];
  config.blockDimZ = launch.block[2];
  config.sharedMemBytes = launch.shared_bytes;
  if (cluster_size(launch) > 0) {
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = {launch.cluster[0], launch.cluster[1], launch.cluster[2]};
    step.attributes.push_back(attribute);
  }
  if (launch.is_cooperative) {
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = 1;
    step.attributes.push_back(attribute);
  }
  if (launch.is_programmatic) {
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    step.attributes.push_back(attribute);
  }
  config.numAttrs = static_cast<unsigned>(step.attributes.size());
  step.name = std::move(name);
  return step;
}

Result<BoundPlan> BoundPlan::bind(const LoadedKernels& kernels, const LaunchPlan& plan,
                                  const PlanAddresses& addresses) {
  BoundPlan bound;
  bound.driver_ = &kernels.driver();
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    Step step;
    bool is_prepare = false;
    if (const auto* launch = std::get_if<PlannedLaunch>(&plan.steps[i])) {
      step = FIB_TRY(bind_launch(kernels, *launch, addresses, describe_step(plan, i)));
      is_prepare = launch->is_prepare;
    } else {
      const auto& memset = std::get<PlannedMemset>(plan.steps[i]);
      step.name = describe_step(plan, i);
      step.target = resolve(memset.target, addresses);
      step.bytes = memset.bytes;
      step.value = memset.value;
      is_prepare = memset.is_prepare;
    }
    (is_prepare ? bound.prepare_ : bound.call_).push_back(std::move(step));
  }
  return bound;
}

Result<void> BoundPlan::run_step(const Step& step, CUstream stream) const {
  CUresult result = CUDA_SUCCESS;
  if (step.function) {
    CUlaunchConfig config = step.config;
    config.hStream = stream;
    // The driver reads attributes and arguments, it does not write them.
    config.attrs = const_cast<CUlaunchAttribute*>(step.attributes.data());
    result = driver_->cuLaunchKernelEx(&config, step.function,
                                       const_cast<void**>(step.arguments.data()), nullptr);
  } else if (step.bytes > 0) {
    result = driver_->cuMemsetD8Async(step.target, step.value, step.bytes, stream);
  }
  if (result == CUDA_SUCCESS) return {};
  return driver_->check(result, step.name);
}

Result<void> BoundPlan::replay_step(size_t step, CUstream stream) const {
  return run_step(call_[step], stream);
}

Result<void> BoundPlan::run(const std::vector<Step>& steps, CUstream stream) const {
  for (const Step& step : steps) FIB_CHECK(run_step(step, stream));
  return {};
}

}  // namespace fib
