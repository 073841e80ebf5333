// Solutions of the cpu target: functions in this object, called by the caller's thread.

#include <fmt/format.h>

#include <algorithm>

#include "integrations/package/runtime/last_error.h"
#include "integrations/package/runtime/parallel_loop.h"
#include "integrations/package/runtime/targets.h"
#include "runners/cpu/host_identity.h"

namespace fib::package {
namespace {

void parallel_for(const FibCall* call, int64_t count, int64_t grain, FibBody body, void* context) {
  static_cast<ParallelLoop*>(call->host)->run(count, grain, body, context);
}

// A FibCall with all that it points to.
class CpuCall {
 public:
  CpuCall(const OpShape& shape, std::span<const int64_t> axes, ParallelLoop& loop)
      : scalars_(shape.inputs().size()) {
    add(shape, shape.inputs(), axes, inputs_, input_shapes_);
    add(shape, shape.outputs(), axes, outputs_, output_shapes_);
    raw_ = {.abi_version = FIB_CPU_ABI_VERSION,
            .num_inputs = static_cast<int32_t>(inputs_.size()),
            .num_outputs = static_cast<int32_t>(outputs_.size()),
            .num_threads = loop.threads(),
            .inputs = inputs_.data(),
            .scalars = scalars_.data(),
            .outputs = outputs_.data(),
            .parallel_for = parallel_for,
            .host = &loop};
  }
  CpuCall(const CpuCall&) = delete;
  CpuCall& operator=(const CpuCall&) = delete;

  void set_scalars(const double* values) {
    for (size_t i = 0; values != nullptr && i < scalars_.size(); ++i) {
      if (inputs_[i].ndim == 0)
        scalars_[i] = {.f = values[i], .i = static_cast<int64_t>(values[i])};
    }
  }

  // Asks what the call needs, as the ABI wants it: shapes without data.
  size_t ask(size_t (*function)(const FibCall*)) const {
    return function == nullptr ? 0 : function(&raw_);
  }

  const FibCall* with_memory(const fib_kernels_raw_call& call, size_t workspace_bytes,
                             void* prepared, size_t prepared_bytes) {
    for (size_t i = 0; i < inputs_.size(); ++i) inputs_[i].data = call.inputs[i];
    raw_.workspace = call.workspace;
    raw_.workspace_bytes = workspace_bytes;
    raw_.prepared = prepared;
    raw_.prepared_bytes = prepared_bytes;
    return &raw_;
  }
  void set_outputs(void* const* outputs) {
    for (size_t i = 0; i < outputs_.size(); ++i) outputs_[i].data = outputs[i];
  }

 private:
  static void add(const OpShape& shape, std::span<const OpShape::Tensor> specs,
                  std::span<const int64_t> axes, std::vector<FibTensor>& tensors,
                  std::vector<std::vector<int64_t>>& shapes) {
    for (const OpShape::Tensor& spec : specs) {
      std::vector<int64_t>& sizes = shapes.emplace_back(shape.shape_of(spec, axes));
      const fib_kernels_dtype& dtype = spec.info->dtype;
      tensors.push_back({.device = {kFibKernelsCpu, 0},
                         .ndim = spec.ndim,
                         .dtype = {dtype.code, dtype.bits, dtype.lanes},
                         .shape = sizes.data()});
    }
  }

  std::vector<std::vector<int64_t>> input_shapes_, output_shapes_;
  std::vector<FibTensor> inputs_, outputs_;
  std::vector<FibScalar> scalars_;
  FibCall raw_{};
};

class PlannedCpuCall final : public PlannedCall {
 public:
  PlannedCpuCall(const SolutionRow& row, const CpuCode& code, const OpShape& shape,
                 const CallFacts& facts, ParallelLoop& loop)
      : row_(row), code_(code), call_(shape, facts.axes, loop) {
    call_.set_scalars(facts.scalars);
    workspace_bytes = call_.ask(code.workspace_bytes);
    prepared_bytes = call_.ask(code.prepared_bytes);
  }

  fib_kernels_status run(const fib_kernels_raw_call& call, void* prepared) override {
    call_.set_scalars(call.scalars);
    call_.set_outputs(call.outputs);
    const int refusal =
        code_.run(call_.with_memory(call, workspace_bytes, prepared, prepared_bytes));
    if (refusal == 0) [[likely]]
      return FIB_KERNELS_OK;
    return refuse(FIB_KERNELS_UNSUPPORTED, "fib_run of '{}' refuses the call with code {}",
                  row_.name, refusal);
  }

 private:
  const SolutionRow& row_;
  const CpuCode& code_;
  CpuCall call_;
};

class CpuSolution final : public Solution {
 public:
  CpuSolution(const SolutionRow& row, const CpuCode& code, const OpShape& shape, ParallelLoop& loop)
      : Solution(row), code_(code), shape_(shape), loop_(loop) {}

  Result<std::unique_ptr<PlannedCall>> plan(const CallFacts& facts) const override {
    return std::make_unique<PlannedCpuCall>(row(), code_, shape_, facts, loop_);
  }

  Result<PrepareNeeds> prepare_needs(const CallFacts& facts) const override {
    if (code_.prepare == nullptr) return PrepareNeeds{};
    const CpuCall call(shape_, facts.axes, loop_);
    // The ABI doesn't say whether fib_run goes on reading the originals.
    return PrepareNeeds{.bytes = call.ask(code_.prepared_bytes),
                        .workspace_bytes = call.ask(code_.workspace_bytes),
                        .replaces_originals = false};
  }

  Result<void> prepare(const CallFacts& facts, const fib_kernels_raw_call& given,
                       void* prepared) const override {
    CpuCall call(shape_, facts.axes, loop_);
    const size_t workspace_bytes = call.ask(code_.workspace_bytes);
    const size_t prepared_bytes = call.ask(code_.prepared_bytes);
    const int refusal =
        code_.prepare(call.with_memory(given, workspace_bytes, prepared, prepared_bytes));
    if (refusal == 0) return {};
    return fail(
        ErrorCode::kUnsupported,
        fmt::format("fib_prepare of '{}' refuses the weights with code {}", row().name, refusal),
        shape_.name());
  }

 private:
  const CpuCode& code_;
  const OpShape& shape_;
  ParallelLoop& loop_;
};

class CpuTarget final : public Target {
 public:
  explicit CpuTarget(const fib_kernels_device_options& options)
      : processor_(host_processor()), hardware_(hardware_key(processor_)), loop_(options) {}

  Place place() const override { return {kFibKernelsCpu, 0, FIB_KERNELS_CPU_ALIGNMENT}; }
  const std::string& hardware() const override { return hardware_; }
  Rows<uint32_t> fallback(const SignatureRow& row) const override { return row.cpu_fallback; }
  bool plans_by_value() const override { return false; }
  bool refuses_at_run() const override { return true; }

  Result<std::unique_ptr<Solution>> load(const OpShape& shape, const SolutionRow& row) override {
    for (const CpuCode& code : row.cpu) {
      if (runs_on(code, processor_.flags)) {
        return std::make_unique<CpuSolution>(row, code, shape, loop_);
      }
    }
    return nullptr;
  }

 private:
  HostProcessor processor_;
  std::string hardware_;
  ParallelLoop loop_;
};

// True if each of the wanted flags is among those that are there.
bool has_all(std::string_view flags, std::string_view wanted) {
  while (!wanted.empty()) {
    const size_t end = std::min(wanted.find(' '), wanted.size());
    if (end > 0 && !has_processor_flag(flags, wanted.substr(0, end))) return false;
    wanted.remove_prefix(std::min(end + 1, wanted.size()));
  }
  return true;
}

}  // namespace

bool runs_on(const CpuCode& code, std::string_view flags) {
  const std::string_view level = code.level;
  if (level == "native") return code.flags != nullptr && has_all(flags, code.flags);
#if defined(__x86_64__)
  // Asked of the processor, with what the operating system lets be used.
  __builtin_cpu_init();
  if (level == "x86-64-v3") return __builtin_cpu_supports("x86-64-v3") != 0;
  if (level == "x86-64-v4") return __builtin_cpu_supports("x86-64-v4") != 0;
  const bool has_bf16 = __builtin_cpu_supports("x86-64-v4") != 0 &&
                        __builtin_cpu_supports("avx512bf16") != 0 &&
                        __builtin_cpu_supports("avx512vnni") != 0;
  if (level == "x86-64-v4-bf16") return has_bf16;
  // A kernel asks for the process's permission to use tiles itself, and does without if refused.
  if (level == "x86-64-v4-amx") {
    return has_bf16 && __builtin_cpu_supports("amx-tile") != 0 &&
           __builtin_cpu_supports("amx-bf16") != 0;
  }
#endif
  return false;
}

Result<std::unique_ptr<Target>> open_cpu_target(const fib_kernels_device_options& options) {
  if (options.num_threads < 0 || options.num_threads > 4096) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{} threads; from 1 to 4096, or 0 for all cores", options.num_threads),
                "options.num_threads");
  }
  return std::make_unique<CpuTarget>(options);
}

}  // namespace fib::package
