#include "runners/launch/replayer.h"

namespace fib {
namespace {

constexpr uint32_t kPortableCluster = 8;  // larger ones need an opt-in

uint32_t cluster_size(const PlannedLaunch& launch) {
  return launch.cluster[0] * launch.cluster[1] * launch.cluster[2];
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
    // Drivers load a kernel when it is first asked about: now, not while a stream is captured.
    int ignored = 0;
    cuda.cuFuncGetAttribute(&ignored, CU_FUNC_ATTRIBUTE_NUM_REGS, function);
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
    driver_->cuFuncGetAttribute(&allowed, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                function);
    if (launch->shared_bytes > static_cast<uint32_t>(allowed)) {
      FIB_CHECK(driver_->check(
          driver_->cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      static_cast<int>(launch->shared_bytes)),
          describe_step(plan, step) + ": " + std::to_string(launch->shared_bytes) +
              " bytes of dynamic shared memory"));
    }
    if (cluster_size(*launch) > kPortableCluster) {
      FIB_CHECK(driver_->check(
          driver_->cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED,
                                      1),
          describe_step(plan, step) + ": cluster of " + std::to_string(cluster_size(*launch))));
    }
  }
  return {};
}

Result<BoundPlan> BoundPlan::bind(const LoadedKernels& kernels, const LaunchPlan& plan,
                                  const PlanAddresses& addresses) {
  const AddressRow layout{.num_inputs = static_cast<uint32_t>(addresses.inputs.size()),
                          .num_outputs = static_cast<uint32_t>(addresses.outputs.size())};
  std::vector<CUdeviceptr> row = addresses.inputs;
  row.insert(row.end(), addresses.outputs.begin(), addresses.outputs.end());
  row.insert(row.end(), {addresses.workspace, addresses.prepared});

  BoundPlan bound;
  bound.driver_ = &kernels.driver();
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    PackedStep step = FIB_TRY(PackedStep::pack(kernels, plan, i, layout));
    step.put(row);
    for (const TensorMapSlot& slot : step.tensor_maps()) {
      FIB_CHECK(
          step.encode(kernels.driver(), slot, row, reinterpret_cast<CUtensorMap*>(slot.base.at)));
    }
    (step.is_prepare() ? bound.prepare_ : bound.call_).push_back(std::move(step));
  }
  return bound;
}

Result<void> BoundPlan::replay_step(size_t step, CUstream stream) const {
  return call_[step].run(*driver_, stream);
}

Result<void> BoundPlan::run(const std::vector<PackedStep>& steps, CUstream stream) const {
  for (const PackedStep& step : steps) FIB_CHECK(step.run(*driver_, stream));
  return {};
}

}  // namespace fib
