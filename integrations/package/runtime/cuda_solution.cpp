#include "integrations/package/runtime/cuda_solution.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "integrations/package/runtime/last_error.h"
#include "runners/cpu/data_type.h"
#include "runners/launch/launch_plan.h"
#include "runners/launch/rebindable_plan.h"
#include "runners/launch/replayer.h"

namespace fib::package {
namespace {

// "bfloat16", as plans know element types.
const char* name_of(const fib_kernels_dtype& wanted) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const FibDataType known = data_type(dtype);
    if (known.code == wanted.code && known.bits == wanted.bits) {
      return dtype_name(dtype).data();  // literals: they end in a NUL
    }
  }
  throw std::logic_error("a table with an element type that fib doesn't have");
}

// A bit for each input that a step of the call itself, not of the prepare step, is given.
uint32_t inputs_read(const LaunchPlan& plan) {
  uint32_t reads = 0;
  const auto add = [&](const FibPlanPointer& pointer) {
    if (pointer.space == FIB_SPACE_INPUT) reads |= uint32_t{1} << pointer.index;
  };
  for (const auto& step : plan.steps) {
    const auto* launch = std::get_if<PlannedLaunch>(&step);
    if (launch == nullptr || launch->is_prepare) continue;
    for (const PlannedArgument& argument : launch->arguments) {
      if (const auto* pointer = std::get_if<FibPlanPointer>(&argument.value)) add(*pointer);
      if (const auto* map = std::get_if<FibPlanTensorMap>(&argument.value)) add(map->base);
    }
  }
  return reads;
}

CUdeviceptr address(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

class CudaSolution;

class PlannedCudaCall final : public PlannedCall {
 public:
  PlannedCudaCall(const CudaSolution& solution, const CudaCard& card, const LaunchPlan& plan,
                  AddressRow layout, RebindablePlan bound)
      : solution_(solution), card_(card), layout_(layout), bound_(std::move(bound)) {
    workspace_bytes = plan.workspace_bytes;
    prepared_bytes = plan.prepared_bytes;
    reads = inputs_read(plan);
  }

  fib_kernels_status run(const fib_kernels_raw_call& call, void* prepared) override;

 private:
  const CudaSolution& solution_;
  const CudaCard& card_;
  const AddressRow layout_;
  RebindablePlan bound_;
};

class CudaSolution final : public Solution {
 public:
  CudaSolution(CudaCard& card, const OpShape& shape, const SolutionRow& row, LoadedKernels kernels,
               std::vector<std::string> names)
      : Solution(row), card_(card), shape_(shape), kernels_(std::move(kernels)) {
    const auto memory = static_cast<uint64_t>(card.facts().plan.memory_bytes);
    limits_ = {.kernels = std::move(names),
               .device = card.facts().plan,
               .max_workspace_bytes = memory,
               .max_prepared_bytes = memory};
    for (size_t i = 0; i < shape.inputs().size(); ++i) {
      if (shape.inputs()[i].is_weight) limits_.weights.push_back(static_cast<int32_t>(i));
      input_types_.push_back(name_of(shape.inputs()[i].info->dtype));
    }
    for (const OpShape::Tensor& output : shape.outputs()) {
      output_types_.push_back(name_of(output.info->dtype));
    }
  }
  ~CudaSolution() override {
    const InContext context(card_);  // for the device binary to be unloaded
    kernels_.reset();
  }

  Result<std::unique_ptr<PlannedCall>> plan(const CallFacts& facts) const override {
    const LaunchPlan plan = FIB_TRY(make_plan(facts));
    const AddressRow layout{.num_inputs = static_cast<uint32_t>(shape_.inputs().size()),
                            .num_outputs = static_cast<uint32_t>(shape_.outputs().size())};
    return std::make_unique<PlannedCudaCall>(
        *this, card_, plan, layout, FIB_TRY(RebindablePlan::pack(*kernels_, plan, layout)));
  }

  Result<PrepareNeeds> prepare_needs(const CallFacts& facts) const override {
    const LaunchPlan plan = FIB_TRY(make_plan(facts));
    if (plan.prepared_bytes == 0) return PrepareNeeds{};
    const uint32_t reads = inputs_read(plan);
    const bool still_reads =
        std::any_of(limits_.weights.begin(), limits_.weights.end(),
                    [&](int32_t weight) { return (reads >> weight & 1) != 0; });
    return PrepareNeeds{.bytes = plan.prepared_bytes,
                        .workspace_bytes = plan.workspace_bytes,
                        .replaces_originals = !still_reads};
  }

  Result<void> prepare(const CallFacts& facts, const fib_kernels_raw_call& call,
                       void* prepared) const override {
    const LaunchPlan plan = FIB_TRY(make_plan(facts));
    PlanAddresses addresses{.workspace = address(call.workspace), .prepared = address(prepared)};
    for (size_t i = 0; i < shape_.inputs().size(); ++i) {
      addresses.inputs.push_back(address(call.inputs[i]));
    }
    addresses.outputs.resize(shape_.outputs().size());
    const InContext context(card_);
    auto bound = BoundPlan::bind(*kernels_, plan, addresses);
    if (!bound) return blame(std::move(bound).error());
    auto done = bound->prepare(static_cast<CUstream>(call.stream));
    if (!done) return blame(std::move(done).error());
    return {};
  }

  // Errors of launches, with what they are about.
  Failure blame(Error error) const {
    error.where = fmt::format("{}, solution '{}'", shape_.name(), row().name);
    return fail(std::move(error));
  }

 private:
  Result<LaunchPlan> make_plan(const CallFacts& facts) const;

  CudaCard& card_;
  const OpShape& shape_;
  std::optional<LoadedKernels> kernels_;
  PlanLimits limits_;  // but for the sizes of tensors
  std::vector<const char*> input_types_, output_types_;
};

// What it refuses, it refuses as kUnsupported: other solutions may take the call.
Result<LaunchPlan> CudaSolution::make_plan(const CallFacts& facts) const {
  const fib_kernels_signature_info& info = shape_.row().info;
  std::vector<FibPlanAxis> axes;
  for (size_t i = 0; i < facts.axes.size(); ++i) {
    axes.push_back({info.axes[i].name, facts.axes[i]});
  }
  PlanLimits limits = limits_;
  std::vector<std::vector<int64_t>> shapes;
  shapes.reserve(shape_.inputs().size() + shape_.outputs().size());
  const auto describe = [&](const OpShape::Tensor& tensor, const char* type,
                            std::vector<uint64_t>& bytes) {
    bytes.push_back(shape_.bytes_of(tensor, facts.axes));
    return FibPlanTensor{.name = tensor.info->name,
                         .dtype = type,
                         .ndim = tensor.ndim,
                         .shape = shapes.emplace_back(shape_.shape_of(tensor, facts.axes)).data(),
                         .is_host_scalar = tensor.is_host_scalar ? 1 : 0};
  };
  std::vector<FibPlanTensor> inputs, outputs;
  for (size_t i = 0; i < shape_.inputs().size(); ++i) {
    const OpShape::Tensor& tensor = shape_.inputs()[i];
    FibPlanTensor& input =
        inputs.emplace_back(describe(tensor, input_types_[i], limits.input_bytes));
    if (tensor.is_host_scalar && facts.scalars != nullptr) input.scalar = facts.scalars[i];
    if (tensor.info->is_host_visible != 0 && facts.host_inputs != nullptr) {
      input.host_data = facts.host_inputs[i];
    }
  }
  for (size_t i = 0; i < shape_.outputs().size(); ++i) {
    outputs.push_back(describe(shape_.outputs()[i], output_types_[i], limits.output_bytes));
  }
  const FibPlanProblem problem{.abi_version = FIB_PLAN_ABI_VERSION,
                               .num_axes = static_cast<int32_t>(axes.size()),
                               .num_inputs = static_cast<int32_t>(inputs.size()),
                               .num_outputs = static_cast<int32_t>(outputs.size()),
                               .axes = axes.data(),
                               .inputs = inputs.data(),
                               .outputs = outputs.data(),
                               .device = limits.device};
  const auto refusal = [](Error error) {
    error.code = ErrorCode::kUnsupported;
    return fail(std::move(error));
  };
  auto plan = collect_plan(row().cuda.plan, problem);
  if (!plan) return refusal(std::move(plan).error());
  if (auto checked = check_plan(*plan, limits); !checked) {
    return refusal(std::move(checked).error());
  }
  const InContext context(card_);
  const std::lock_guard lock(card_.attributes());
  if (auto allowed = kernels_->allow(*plan); !allowed) return refusal(std::move(allowed).error());
  return plan;
}

fib_kernels_status PlannedCudaCall::run(const fib_kernels_raw_call& call, void* prepared) {
  std::array<CUdeviceptr, 2 * kMaxTensors + 2> row;
  for (uint32_t i = 0; i < layout_.num_inputs; ++i) row[i] = address(call.inputs[i]);
  for (uint32_t i = 0; i < layout_.num_outputs; ++i) {
    row[layout_.num_inputs + i] = address(call.outputs[i]);
  }
  row[layout_.workspace()] = address(call.workspace);
  row[layout_.prepared()] = address(prepared);
  const InContext context(card_);
  const auto done = bound_.replay({row.data(), layout_.size()}, static_cast<CUstream>(call.stream));
  if (done) [[likely]]
    return FIB_KERNELS_OK;
  return refuse(solution_.blame(done.error()).value(), Stage::kCalling);
}

}  // namespace

Result<std::unique_ptr<Solution>> load_cuda_solution(CudaCard& card, const OpShape& shape,
                                                     const SolutionRow& row,
                                                     const DeviceBinary& binary) {
  LoweredNames lowered;
  std::vector<std::string> names;
  for (const KernelSymbol& kernel : binary.kernels) {
    lowered.emplace_back(kernel.expression, kernel.symbol);
    names.emplace_back(kernel.expression);
  }
  const InContext context(card);
  FIB_CHECK(card.driver()->check(context.result(), "cuCtxSetCurrent"));
  const auto code = std::as_bytes(std::span(binary.cubin, binary.bytes));
  auto kernels = LoadedKernels::load(card.driver(), code, lowered);
  if (!kernels) {
    Error error = std::move(kernels).error();
    // To callers a missing driver is something else.
    if (error.code == ErrorCode::kEnvironment) error.code = ErrorCode::kWorkerLost;
    error.where = fmt::format("{}, solution '{}'", shape.name(), row.name);
    return fail(std::move(error));
  }
  return std::make_unique<CudaSolution>(card, shape, row, *std::move(kernels), std::move(names));
}

}  // namespace fib::package
