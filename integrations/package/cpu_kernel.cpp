// Kernels of the cpu target: a solution's shared object, called in this process. The house's
// solutions are trusted; what competes runs in a sandbox (runners/cpu).

#include <fmt/format.h>

#include "harness/abi/fib/cpu.h"
#include "integrations/package/call_shape.h"
#include "integrations/package/cpu_device.h"
#include "integrations/package/kernel_target.h"
#include "integrations/package/prepared_array.h"
#include "integrations/package/shared_object.h"
#include "integrations/package/workspace.h"
#include "runners/cpu/cpu_build.h"
#include "runners/cpu/cpu_runner.h"
#include "runners/cpu/data_type.h"

namespace fib {
namespace {

void parallel_for(const FibCall* call, int64_t count, int64_t grain, FibBody body, void* context) {
  static_cast<WorkerPool*>(call->host)->run(count, grain, body, context);
}

// The entry points of harness/abi/fib/cpu.h; the optional ones may be null.
struct CpuEntries {
  int (*run)(const FibCall*) = nullptr;
  size_t (*workspace_bytes)(const FibCall*) = nullptr;
  size_t (*prepared_bytes)(const FibCall*) = nullptr;
  int (*prepare)(const FibCall*) = nullptr;
};

// Tensors of one side of a call. Shapes are kept here, since the ABI points to them.
class CpuTensors {
 public:
  explicit CpuTensors(const std::vector<TensorSpec>& specs)
      : shapes_(specs.size()), tensors_(specs.size()), scalars_(specs.size()) {
    for (size_t i = 0; i < specs.size(); ++i) {
      tensors_[i].device = FibDevice{1, 0};
      tensors_[i].ndim = specs[i].shape ? static_cast<int32_t>(specs[i].shape->size()) : 0;
      tensors_[i].dtype = data_type(specs[i].dtype);
      tensors_[i].shape = shapes_[i].data();
    }
  }
  CpuTensors(const CpuTensors&) = delete;
  CpuTensors& operator=(const CpuTensors&) = delete;

  void set(size_t i, const Operand& operand) {
    shapes_[i] = operand.shape;
    tensors_[i].data = operand.data;
    scalars_[i] = {.f = operand.scalar, .i = static_cast<int64_t>(operand.scalar)};
  }
  void set(std::span<const Operand> operands) {
    for (size_t i = 0; i < operands.size(); ++i) set(i, operands[i]);
  }
  void forget_data() {
    for (FibTensor& tensor : tensors_) tensor.data = nullptr;
  }

  int32_t size() const { return static_cast<int32_t>(tensors_.size()); }
  const FibTensor* tensors() const { return tensors_.data(); }
  const FibScalar* scalars() const { return scalars_.data(); }

 private:
  std::vector<std::array<int64_t, Operand::kMaxRank>> shapes_;
  std::vector<FibTensor> tensors_;
  std::vector<FibScalar> scalars_;
};

// A FibCall with all that it points to, made once and filled in for each call.
struct CpuCall {
  CpuCall(const Signature& signature, WorkerPool& pool)
      : inputs(signature.inputs), outputs(signature.outputs) {
    raw.abi_version = FIB_CPU_ABI_VERSION;
    raw.num_inputs = inputs.size();
    raw.num_outputs = outputs.size();
    raw.num_threads = pool.size();
    raw.inputs = inputs.tensors();
    raw.scalars = inputs.scalars();
    raw.outputs = outputs.tensors();
    raw.parallel_for = parallel_for;
    raw.host = &pool;
  }

  // Asks what the call needs, as the ABI wants it: shapes without data.
  void ask_for_memory(const CpuEntries& entries) {
    inputs.forget_data();
    outputs.forget_data();
    raw.workspace = raw.prepared = nullptr;
    raw.workspace_bytes = raw.prepared_bytes = 0;
    const auto ask = [&](auto function) { return function == nullptr ? 0 : function(&raw); };
    const size_t workspace_bytes = ask(entries.workspace_bytes);
    raw.prepared_bytes = ask(entries.prepared_bytes);
    raw.workspace_bytes = workspace_bytes;
  }

  CpuTensors inputs, outputs;
  FibCall raw{};
};

class CpuKernel final : public Kernel {
 public:
  CpuKernel(CpuDevice& device, Workspace& workspace, SignaturePtr signature, std::string solution,
            CallShape shape, SharedObject object, const CpuEntries& entries)
      : device_(device),
        workspace_(workspace),
        signature_(std::move(signature)),
        solution_(std::move(solution)),
        shape_(std::move(shape)),
        object_(std::move(object)),
        entries_(entries),
        call_(*signature_, device.pool()) {}

  const Signature& signature() const override { return *signature_; }
  std::string_view solution() const override { return solution_; }

  Result<void> run(const KernelCall& call) override {
    const CallShape::Match match = FIB_TRY(shape_.solve(call));
    set(call);
    if (match == CallShape::Match::kNew) {
      call_.ask_for_memory(entries_);
      set(call);
    }
    FibCall& raw = call_.raw;
    raw.workspace = FIB_TRY(workspace_.reserve(raw.workspace_bytes));
    if (raw.prepared_bytes > 0) {
      raw.prepared = FIB_TRY(PreparedArray::of(call, *this, raw.prepared_bytes));
    }
    return check(entries_.run(&raw), "fib_run");
  }

  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
    if (entries_.prepare == nullptr) return nullptr;
    const std::vector<int64_t> axes = FIB_TRY(shape_.solve_weights(inputs));
    CpuCall call(*signature_, device_.pool());
    const auto shape = [&](const std::vector<TensorSpec>& specs, CpuTensors& tensors) {
      for (size_t i = 0; i < specs.size(); ++i) {
        tensors.set(i, shaped_operand(*signature_, specs[i], axes));
      }
    };
    shape(signature_->inputs, call.inputs);
    shape(signature_->outputs, call.outputs);
    call.ask_for_memory(entries_);
    if (call.raw.prepared_bytes == 0) return nullptr;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (signature_->is_weight(signature_->inputs[i].name)) call.inputs.set(i, inputs[i]);
    }
    DeviceArray array = FIB_TRY(device_.allocate(call.raw.prepared_bytes));
    call.raw.prepared = array.data();
    call.raw.workspace = FIB_TRY(workspace_.reserve(call.raw.workspace_bytes));
    FIB_CHECK(check(entries_.prepare(&call.raw), "fib_prepare"));
    // The ABI doesn't say whether fib_run goes on reading the originals.
    return std::make_unique<PreparedArray>(*this, std::move(array),
                                           PreparedArray::Originals::kStillRead);
  }

 private:
  void set(const KernelCall& call) {
    call_.inputs.set(call.inputs);
    call_.outputs.set(call.outputs);
  }

  Result<void> check(int code, std::string_view entry) const {
    if (code == 0) return {};
    return fail(ErrorCode::kUnsupported,
                fmt::format("{} of '{}' refuses the call with code {}", entry, solution_, code),
                signature_->name);
  }

  CpuDevice& device_;
  Workspace& workspace_;
  const SignaturePtr signature_;
  const std::string solution_;
  CallShape shape_;
  const SharedObject object_;
  const CpuEntries entries_;
  CpuCall call_;
};

class CpuKernels final : public KernelTarget {
 public:
  CpuKernels(CpuDevice& device, const HouseDispatchOptions& options)
      : device_(device),
        workspace_(device),
        runner_(make_cpu_runner({.cache_folder = options.cache_folder,
                                 .worker_executable = options.worker_executable,
                                 .include_folder = options.abi})) {}

  Result<BuildOutcome> build(const Solution& solution, const Signature& signature) override {
    return runner_->build({.solution = solution, .signature = signature, .architecture = "native"});
  }

  Result<std::unique_ptr<Kernel>> load(const Artifact& artifact, SignaturePtr signature,
                                       std::string solution) override {
    CallShape shape = FIB_TRY(CallShape::of(signature));
    SharedObject object = FIB_TRY(SharedObject::open(artifact.folder / kCpuLibraryName));
    CpuEntries entries;
    object.find("fib_run", entries.run);
    object.find("fib_workspace_bytes", entries.workspace_bytes);
    object.find("fib_prepared_bytes", entries.prepared_bytes);
    object.find("fib_prepare", entries.prepare);
    if (entries.run == nullptr) {
      return fail(ErrorCode::kInvalidInput, fmt::format("'{}' does not export fib_run", solution),
                  signature->name, "declare it extern \"C\" int fib_run(const FibCall*)");
    }
    return std::make_unique<CpuKernel>(device_, workspace_, std::move(signature),
                                       std::move(solution), std::move(shape), std::move(object),
                                       entries);
  }

 private:
  CpuDevice& device_;
  Workspace workspace_;
  std::unique_ptr<Runner> runner_;
};

}  // namespace

Result<std::unique_ptr<KernelTarget>> open_cpu_kernels(ServingDevice& device,
                                                       const HouseDispatchOptions& options) {
  return std::make_unique<CpuKernels>(dynamic_cast<CpuDevice&>(device), options);
}

}  // namespace fib
