// Kernels of the cuda target: plan.cpp, called in this process, and the replayer of its launch
// plans. The house's plans are trusted; those that compete run in a process of their own
// (runners/worker/plan_worker.h).

#include <fmt/format.h>

#include <algorithm>

#include "integrations/package/call_shape.h"
#include "integrations/package/cuda_device.h"
#include "integrations/package/kernel_target.h"
#include "integrations/package/prepared_array.h"
#include "integrations/package/recent_cache.h"
#include "integrations/package/shared_object.h"
#include "integrations/package/workspace.h"
#include "runners/cpu/host_cpu.h"
#include "runners/cuda/cuda_build.h"
#include "runners/launch/replayer.h"

namespace fib {
namespace {

// A step of decode has one plan a shape and one binding a layer; the plans of attention change with
// the lengths, step by step.
constexpr size_t kKeptPlans = 64, kKeptBindings = 128;
constexpr int kMaxCompiles = 8;  // NVRTC processes, a few hundred MiB each

struct CachedPlan {
  LaunchPlan plan;
  RecentCache<BoundPlan> bound{kKeptBindings};  // by addresses
};

template <class T>
void append(std::string& key, const T& value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// True if a step of the call itself, not of the prepare step, is given the input's address.
bool reads_input(const LaunchPlan& plan, size_t input) {
  const auto is_it = [&](const FibPlanPointer& pointer) {
    return pointer.space == FIB_SPACE_INPUT && pointer.index == static_cast<int32_t>(input);
  };
  const auto reads = [&](const PlannedArgument& argument) {
    if (const auto* pointer = std::get_if<FibPlanPointer>(&argument.value)) return is_it(*pointer);
    const auto* map = std::get_if<FibPlanTensorMap>(&argument.value);
    return map != nullptr && is_it(map->base);
  };
  return std::any_of(plan.steps.begin(), plan.steps.end(), [&](const auto& step) {
    const auto* launch = std::get_if<PlannedLaunch>(&step);
    return launch != nullptr && !launch->is_prepare &&
           std::any_of(launch->arguments.begin(), launch->arguments.end(), reads);
  });
}

class CudaKernel final : public Kernel {
 public:
  struct Parts {
    SignaturePtr signature;
    std::string solution;
    CallShape shape;
    LoadedKernels kernels;
    std::vector<std::string> kernel_names;
    SharedObject plan_object;
    FibPlanEntry plan_entry = nullptr;
  };
  CudaKernel(CudaDevice& device, Workspace& workspace, Parts parts);
  ~CudaKernel() override {
    static_cast<void>(device_.enter());  // for the device binary to be unloaded
  }

  const Signature& signature() const override { return *parts_.signature; }
  std::string_view solution() const override { return parts_.solution; }
  Result<void> run(const KernelCall& call) override;
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override;

 private:
  Result<CachedPlan*> plan_of(const KernelCall& call);
  Result<BoundPlan*> bind(CachedPlan& cached, const KernelCall& call);
  // What a plan may know of the input; null: not its values.
  static const void* host_values(const KernelCall& call, size_t input) {
    return call.values == InputValues::kOfThisCall ? call.inputs[input].host : nullptr;
  }
  Result<LaunchPlan> make_plan(const KernelCall& call, std::span<const int64_t> axes);
  PlanLimits limits(const KernelCall& call) const;
  PlanAddresses addresses(const KernelCall& call) const;
  // Errors of plans and launches, with what they are about.
  Failure blame(Error error) const {
    error.where = fmt::format("{}, solution '{}'{}{}", parts_.signature->name, parts_.solution,
                              error.where.empty() ? "" : ": ", error.where);
    return fail(std::move(error));
  }

  CudaDevice& device_;
  Workspace& workspace_;
  Parts parts_;
  std::vector<size_t> scalars_, host_visible_;  // inputs
  std::vector<int32_t> weights_;                // inputs

  // What plan.cpp is given; names and types stand, a new plan puts in the rest.
  std::vector<FibPlanAxis> plan_axes_;
  std::vector<FibPlanTensor> plan_inputs_, plan_outputs_;

  std::string key_;                            // reused
  RecentCache<CachedPlan> plans_{kKeptPlans};  // by axes, scalars and the values it may know
};

CudaKernel::CudaKernel(CudaDevice& device, Workspace& workspace, Parts parts)
    : device_(device), workspace_(workspace), parts_(std::move(parts)) {
  const Signature& s = *parts_.signature;
  const auto tensor = [](const TensorSpec& spec) {
    return FibPlanTensor{.name = spec.name.c_str(),
                         .dtype = dtype_name(spec.dtype).data(),  // literals: they end in a NUL
                         .is_host_scalar = spec.shape ? 0 : 1};
  };
  for (const Axis& axis : s.axes) plan_axes_.push_back({axis.name.c_str(), axis.value});
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    plan_inputs_.push_back(tensor(s.inputs[i]));
    if (!s.inputs[i].shape) scalars_.push_back(i);
    if (s.is_host_visible(s.inputs[i].name)) host_visible_.push_back(i);
    if (s.is_weight(s.inputs[i].name)) weights_.push_back(static_cast<int32_t>(i));
  }
  for (const TensorSpec& output : s.outputs) plan_outputs_.push_back(tensor(output));
}

Result<void> CudaKernel::run(const KernelCall& call) {
  FIB_CHECK(device_.enter());
  static_cast<void>(FIB_TRY(parts_.shape.solve(call)));
  CachedPlan* cached = FIB_TRY(plan_of(call));
  const BoundPlan* bound = FIB_TRY(bind(*cached, call));
  if (auto launched = bound->replay(device_.context().stream()); !launched) {
    return blame(device_.explain(std::move(launched).error()));
  }
  return {};
}

Result<CachedPlan*> CudaKernel::plan_of(const KernelCall& call) {
  key_.clear();
  for (const int64_t size : parts_.shape.axes()) append(key_, size);
  for (const size_t input : scalars_) append(key_, call.inputs[input].scalar);
  for (const size_t input : host_visible_) {
    const void* const values = host_values(call, input);
    key_.push_back(values != nullptr ? 1 : 0);
    if (values == nullptr) continue;
    key_.append(static_cast<const char*>(values),
                storage_bytes(parts_.signature->inputs[input].dtype,
                              num_elements(call.inputs[input])));
  }
  if (CachedPlan* known = plans_.find(key_)) return known;
  LaunchPlan plan = FIB_TRY(make_plan(call, parts_.shape.axes()));
  return &plans_.insert(key_, {.plan = std::move(plan)});
}

Result<BoundPlan*> CudaKernel::bind(CachedPlan& cached, const KernelCall& call) {
  std::byte* prepared = nullptr;
  if (cached.plan.prepared_bytes > 0) {
    prepared = FIB_TRY(PreparedArray::of(call, *this, cached.plan.prepared_bytes));
  }
  key_.clear();
  for (const Operand& input : call.inputs) append(key_, input.data);
  for (const Operand& output : call.outputs) append(key_, output.data);
  append(key_, prepared);
  if (BoundPlan* known = cached.bound.find(key_)) return known;

  PlanAddresses places = addresses(call);
  places.prepared = reinterpret_cast<CUdeviceptr>(prepared);
  for (const int32_t weight : weights_) {
    const Operand& operand = call.inputs[weight];
    if (operand.data != nullptr || num_elements(operand) == 0) continue;
    if (!reads_input(cached.plan, weight)) continue;
    return fail(ErrorCode::kInvalidInput,
                fmt::format("input '{}' has no data, which '{}' reads besides its prepared weights",
                            parts_.signature->inputs[weight].name, parts_.solution),
                parts_.signature->name);
  }
  places.workspace =
      reinterpret_cast<CUdeviceptr>(FIB_TRY(workspace_.reserve(cached.plan.workspace_bytes)));
  auto bound = BoundPlan::bind(parts_.kernels, cached.plan, places);
  if (!bound) return blame(device_.explain(std::move(bound).error()));
  return &cached.bound.insert(key_, *std::move(bound));
}

Result<LaunchPlan> CudaKernel::make_plan(const KernelCall& call, std::span<const int64_t> axes) {
  for (size_t i = 0; i < axes.size(); ++i) plan_axes_[i].value = axes[i];
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    plan_inputs_[i].ndim = call.inputs[i].rank;
    plan_inputs_[i].shape = call.inputs[i].shape.data();
    plan_inputs_[i].scalar = call.inputs[i].scalar;
    plan_inputs_[i].host_data = nullptr;
  }
  for (const size_t input : host_visible_) plan_inputs_[input].host_data = host_values(call, input);
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    plan_outputs_[i].ndim = call.outputs[i].rank;
    plan_outputs_[i].shape = call.outputs[i].shape.data();
  }
  const FibPlanProblem problem{.abi_version = FIB_PLAN_ABI_VERSION,
                               .num_axes = static_cast<int32_t>(plan_axes_.size()),
                               .num_inputs = static_cast<int32_t>(plan_inputs_.size()),
                               .num_outputs = static_cast<int32_t>(plan_outputs_.size()),
                               .axes = plan_axes_.data(),
                               .inputs = plan_inputs_.data(),
                               .outputs = plan_outputs_.data(),
                               .device = device_.context().facts().plan};
  auto plan = collect_plan(parts_.plan_entry, problem);
  if (!plan) {
    Error refusal = std::move(plan).error();
    refusal.code = ErrorCode::kUnsupported;
    return blame(std::move(refusal));
  }
  if (auto checked = check_plan(*plan, limits(call)); !checked) {
    return blame(std::move(checked).error());
  }
  if (auto allowed = parts_.kernels.allow(*plan); !allowed) {
    return blame(device_.explain(std::move(allowed).error()));
  }
  return plan;
}

PlanLimits CudaKernel::limits(const KernelCall& call) const {
  const Signature& s = *parts_.signature;
  PlanLimits limits{.kernels = parts_.kernel_names,
                    .device = device_.context().facts().plan,
                    .max_workspace_bytes = device_.info().memory_bytes,
                    .max_prepared_bytes = device_.info().memory_bytes,
                    .weights = weights_};
  const auto bytes = [](const TensorSpec& spec, const Operand& operand) {
    return spec.shape ? storage_bytes(spec.dtype, num_elements(operand)) : 0;
  };
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    limits.input_bytes.push_back(bytes(s.inputs[i], call.inputs[i]));
  }
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    limits.output_bytes.push_back(bytes(s.outputs[i], call.outputs[i]));
  }
  return limits;
}

PlanAddresses CudaKernel::addresses(const KernelCall& call) const {
  PlanAddresses addresses;
  const auto address = [](const Operand& operand) {
    return reinterpret_cast<CUdeviceptr>(operand.data);
  };
  for (const Operand& input : call.inputs) addresses.inputs.push_back(address(input));
  for (const Operand& output : call.outputs) addresses.outputs.push_back(address(output));
  return addresses;
}

// The plan is that of a call with 1 for what the weights leave open: weights laid out in different
// ways for different calls would have to be kept as often.
Result<std::unique_ptr<PreparedWeights>> CudaKernel::prepare(std::span<const Operand> inputs) {
  FIB_CHECK(device_.enter());
  const Signature& s = *parts_.signature;
  const std::vector<int64_t> axes = FIB_TRY(parts_.shape.solve_weights(inputs));
  std::vector<Operand> shaped, outputs;
  for (const TensorSpec& input : s.inputs) shaped.push_back(shaped_operand(s, input, axes));
  for (const TensorSpec& output : s.outputs) outputs.push_back(shaped_operand(s, output, axes));
  for (const int32_t weight : weights_) shaped[weight] = inputs[weight];

  // A plan that needs more than the weights can't lay them out beforehand.
  const KernelCall call{shaped, outputs};
  const LaunchPlan plan = FIB_TRY(make_plan(call, axes));
  if (plan.prepared_bytes == 0) return nullptr;
  DeviceArray array = FIB_TRY(device_.allocate(plan.prepared_bytes));
  PlanAddresses places = addresses(call);
  places.prepared = reinterpret_cast<CUdeviceptr>(array.data());
  places.workspace =
      reinterpret_cast<CUdeviceptr>(FIB_TRY(workspace_.reserve(plan.workspace_bytes)));
  auto bound = BoundPlan::bind(parts_.kernels, plan, places);
  if (!bound) return blame(device_.explain(std::move(bound).error()));
  if (auto done = bound->prepare(device_.context().stream()); !done) {
    return blame(device_.explain(std::move(done).error()));
  }
  const bool still_reads = std::any_of(weights_.begin(), weights_.end(),
                                       [&](int32_t weight) { return reads_input(plan, weight); });
  return std::make_unique<PreparedArray>(
      *this, std::move(array),
      still_reads ? PreparedArray::Originals::kStillRead : PreparedArray::Originals::kReplaced);
}

class CudaKernels final : public KernelTarget {
 public:
  CudaKernels(CudaDevice& device, std::unique_ptr<CudaBuilder> builder)
      : device_(device), workspace_(device), builder_(std::move(builder)) {}

  Result<BuildOutcome> build(const Solution& solution, const Signature& signature) override {
    return builder_->build({.solution = solution,
                            .signature = signature,
                            .architecture = device_.info().architecture});
  }

  Result<std::unique_ptr<Kernel>> load(const Artifact& artifact, SignaturePtr signature,
                                       std::string solution) override {
    FIB_CHECK(device_.enter());
    const CudaBinary binary = FIB_TRY(read_cuda_binary(artifact));
    CudaKernel::Parts parts{.signature = signature,
                            .solution = std::move(solution),
                            .shape = FIB_TRY(CallShape::of(signature)),
                            .kernels = FIB_TRY(LoadedKernels::load(
                                device_.context().driver_ptr(),
                                std::as_bytes(std::span(binary.cubin)), binary.lowered)),
                            .plan_object = FIB_TRY(SharedObject::open(binary.plan))};
    for (const auto& [name, symbol] : binary.lowered) parts.kernel_names.push_back(name);
    parts.plan_object.find("fib_plan_entry", parts.plan_entry);
    if (parts.plan_entry == nullptr) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("plan.cpp of '{}' exports no fib_plan_entry", parts.solution),
                  signature->name, "end it with FIB_EXPORT_PLAN(your_function)");
    }
    return std::make_unique<CudaKernel>(device_, workspace_, std::move(parts));
  }

 private:
  CudaDevice& device_;
  Workspace workspace_;
  std::unique_ptr<CudaBuilder> builder_;
};

Result<std::unique_ptr<CudaBuilder>> open_builder(const HouseDispatchOptions& options) {
  return CudaBuilder::open({.runner = {.cache_folder = options.cache_folder,
                                       .worker_executable = options.worker_executable,
                                       .include_folder = options.abi},
                            .search = options.cuda,
                            .device_source_folder = options.device_sources,
                            .max_compiles = std::min(host_threads(), kMaxCompiles)});
}

Result<void> adopt_from(CudaBuilder& builder, CudaDevice& device) {
  const std::string cubin = FIB_TRY(builder.harness_kernels(device.info().architecture));
  FIB_CHECK(device.enter());
  device.adopt(FIB_TRY(HarnessKernels::load(device.context(), std::as_bytes(std::span(cubin)))));
  return {};
}

}  // namespace

Result<void> adopt_harness_kernels(CudaDevice& device, const HouseDispatchOptions& options) {
  return adopt_from(*FIB_TRY(open_builder(options)), device);
}

Result<std::unique_ptr<KernelTarget>> open_cuda_kernels(ServingDevice& device,
                                                        const HouseDispatchOptions& options) {
  auto& cuda = dynamic_cast<CudaDevice&>(device);
  auto builder = FIB_TRY(open_builder(options));
  FIB_CHECK(adopt_from(*builder, cuda));
  return std::make_unique<CudaKernels>(cuda, std::move(builder));
}

}  // namespace fib
