#include "runners/cuda/device_measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "runners/cuda/cubin.h"

namespace fib {
namespace {

constexpr uint64_t kMinSlack = 256 << 10, kMaxSlack = 64 << 20;  // room in which buffers move
constexpr uint64_t kOutputSalt = 1000, kPreparedSalt = 2000;     // inputs: their position
constexpr uint64_t kCheapResidents = 256 << 20;  // digested after every call, larger ones less often
constexpr double kExtraKeptShare = 0.4;  // of the free memory, for outputs that vary

uint64_t align(uint64_t bytes) { return (bytes + kBufferAlign - 1) / kBufferAlign * kBufferAlign; }

Fault device_fault(std::string_view reason, std::string_view where) {
  return {FaultKind::kDeviceFault, fmt::format("{} in {}", reason, where)};
}

}  // namespace

DeviceMeasure::DeviceMeasure(DeviceResources& resources, DeviceProblem problem)
    : device_(resources), problem_(std::move(problem)) {
  uint64_t offset = 0;
  for (const uint64_t bytes : problem_.original_bytes) {
    original_offsets_.push_back(offset);
    offset += align(bytes);
  }
  for (const DeviceTensor& output : problem_.outputs) {
    output_offsets_.push_back(outputs_bytes_);
    outputs_bytes_ += align(output.bytes);
  }
  for (size_t i = 0; i < problem_.inputs.size(); ++i) {
    const DeviceTensor& input = problem_.inputs[i];
    if (input.is_scalar) continue;
    (input.is_resident ? resident_inputs_ : call_inputs_).push_back(i);
  }
  contenders_.resize(problem_.num_contenders);
}

Result<void> DeviceMeasure::upload(size_t original, uint64_t offset,
                                   std::span<const std::byte> bytes) {
  const uint64_t total = original_offsets_.back() + align(problem_.original_bytes.back());
  FIB_CHECK(device_.originals.reserve(total));
  const CudaDriver& driver = device_.context.driver();
  FIB_CHECK(driver.check(
      driver.cuMemcpyHtoDAsync(device_.originals.address() + original_offsets_.at(original) + offset,
                               bytes.data(), bytes.size(), device_.context.stream()),
      "input upload"));
  return device_.context.wait(problem_.call_timeout_s);
}

std::optional<Fault> DeviceMeasure::load(uint32_t index, std::span<const std::byte> cubin,
                                         LoweredNames names, LaunchPlan plan) {
  Contender& contender = contenders_.at(index);
  contender.cubin.assign(cubin.begin(), cubin.end());
  contender.names = std::move(names);
  contender.plan = std::move(plan);
  contender.has_state = has_device_variables(cubin);
  auto kernels = LoadedKernels::load(device_.context.driver_ptr(), contender.cubin, contender.names);
  if (!kernels) {
    const bool missing = kernels.error().code == ErrorCode::kNotFound;
    return Fault{missing ? FaultKind::kKernelNotFound : FaultKind::kLaunchFailed,
                 kernels.error().message};
  }
  contender.kernels = *std::move(kernels);
  if (auto allowed = contender.kernels->allow(contender.plan); !allowed) {
    return Fault{FaultKind::kPlanTooMuch, allowed.error().message};
  }
  return std::nullopt;
}

std::vector<LayoutBuffer> DeviceMeasure::resident_buffers() const {
  std::vector<LayoutBuffer> buffers;
  for (const size_t i : resident_inputs_) {
    buffers.push_back({"input '" + problem_.inputs[i].name + "'", problem_.inputs[i].bytes});
  }
  for (const Contender& contender : contenders_) {
    if (contender.plan.prepared_bytes > 0) {
      buffers.push_back({"prepared memory", contender.plan.prepared_bytes});
    }
  }
  return buffers;
}

std::vector<LayoutBuffer> DeviceMeasure::call_buffers(uint64_t workspace_bytes) const {
  std::vector<LayoutBuffer> buffers;
  for (const size_t i : call_inputs_) {
    buffers.push_back({"input '" + problem_.inputs[i].name + "'", problem_.inputs[i].bytes});
  }
  for (const DeviceTensor& output : problem_.outputs) {
    buffers.push_back({"output '" + output.name + "'", output.bytes});
  }
  buffers.push_back({"the workspace", workspace_bytes});
  return buffers;
}

Result<void> DeviceMeasure::arrange() {
  if (is_arranged_) return {};
  uint64_t workspace = 0;
  for (const Contender& contender : contenders_) {
    workspace = std::max(workspace, contender.plan.workspace_bytes);
  }
  const std::vector<LayoutBuffer> residents = resident_buffers();
  for (const LayoutBuffer& buffer : residents) resident_bytes_ += buffer.bytes;
  const uint64_t call_bytes = layout_bytes(call_buffers(workspace));
  const uint64_t resident_bytes = layout_bytes(residents);
  const uint64_t slack = std::clamp((call_bytes + resident_bytes) / 16, kMinSlack, kMaxSlack);
  call_room_ = align(call_bytes + slack);
  resident_room_ = residents.empty() ? 0 : align(resident_bytes + slack);
  FIB_CHECK(device_.kept.reserve(std::max<uint64_t>(
      outputs_bytes_ * contenders_.size() * problem_.sets.size(), kBufferAlign)));
  FIB_CHECK(device_.arena.reserve(call_room_ + resident_room_));
  FIB_CHECK(device_.report.reserve(sizeof(CallReport)));
  extra_kept_bytes_ =
      static_cast<uint64_t>(kExtraKeptShare * static_cast<double>(device_.context.free_bytes()));
  is_arranged_ = true;
  return {};
}

Result<void> DeviceMeasure::fill_input(size_t index, uint32_t set, CUdeviceptr address) {
  const DeviceTensor& input = problem_.inputs[index];
  const DeviceSource& source = problem_.sets.at(set).at(index);
  if (input.bytes == 0) return {};
  if (source.original) {
    const CudaDriver& driver = device_.context.driver();
    return driver.check(
        driver.cuMemcpyDtoDAsync(address,
                                 device_.originals.address() + original_offsets_[*source.original],
                                 input.bytes, device_.context.stream()),
        "input copy");
  }
  return device_.kernels.fill({.rule = source.rule,
                               .seed = source.seed,
                               .stream = source.stream,
                               .out = address,
                               .count = static_cast<uint64_t>(input.elements)});
}

// What an earlier call might have left: all ones (NaN in every float format), zeros, or plausible
// values. Drawn, so that it can't be told from a real output.
Result<void> DeviceMeasure::poison(CUdeviceptr address, uint64_t bytes, LayoutRandom& random) {
  if (bytes == 0) return {};
  const uint64_t kind = random() % 4;
  if (kind < 2) {
    const CudaDriver& driver = device_.context.driver();
    return driver.check(driver.cuMemsetD8Async(address, kind == 0 ? 0xFF : 0x00, bytes,
                                               device_.context.stream()),
                        "poison");
  }
  FillArguments fill{.seed = random(), .stream = 0, .out = address, .count = bytes / 2};
  fill.rule = {.kind = kNormalValue,
               .format = kStoreBFloat16,  // plausible as fp16 and as float32 too
               .width = 16,
               .scale = kind == 2 ? 1.0f : 0.01f,
               .offset = 0.0f,
               .lowest = -4.0f,
               .highest = 4.0f,
               .count = 1};
  return device_.kernels.fill(fill);
}

Result<void> DeviceMeasure::digest_inputs(const Layout& layout, bool with_residents,
                                          CUdeviceptr digest) {
  const auto add = [&](size_t input, CUdeviceptr address) {
    return device_.kernels.digest({.address = address,
                                   .bytes = problem_.inputs[input].bytes,
                                   .salt = problem_.salt + input,
                                   .digest = digest});
  };
  for (size_t i = 0; i < call_inputs_.size(); ++i) {
    FIB_CHECK(add(call_inputs_[i], layout.addresses[i]));
  }
  if (!with_residents) return {};
  for (size_t i = 0; i < resident_inputs_.size(); ++i) {
    FIB_CHECK(add(resident_inputs_[i], residents_.addresses[i]));
  }
  return {};
}

Result<void> DeviceMeasure::digest_outputs(const Layout& layout, CUdeviceptr digest) {
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    FIB_CHECK(device_.kernels.digest({.address = layout.addresses[call_inputs_.size() + i],
                                      .bytes = problem_.outputs[i].bytes,
                                      .salt = problem_.salt + kOutputSalt + i,
                                      .digest = digest}));
  }
  return {};
}

Result<DeviceMeasure::Digest> DeviceMeasure::read_digest(CUdeviceptr digest) {
  const CudaDriver& driver = device_.context.driver();
  Digest* copy = device_.report_copy.as<Digest>();
  FIB_CHECK(driver.check(
      driver.cuMemcpyDtoHAsync(copy, digest, sizeof(Digest), device_.context.stream()), "digest"));
  FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
  return *copy;
}

Result<void> DeviceMeasure::place_residents(uint32_t set, LayoutRandom& random) {
  resident_set_ = set;
  const std::vector<LayoutBuffer> buffers = resident_buffers();
  residents_ = lay_out(buffers, device_.arena.address() + call_room_,
                       std::max(resident_room_, layout_bytes(buffers)), problem_.salt ^ random(),
                       random);
  for (size_t i = 0; i < resident_inputs_.size(); ++i) {
    FIB_CHECK(fill_input(resident_inputs_[i], set, residents_.addresses[i]));
  }
  size_t next = resident_inputs_.size();
  for (Contender& contender : contenders_) {
    contender.prepared =
        contender.plan.prepared_bytes > 0 ? residents_.addresses[next++] : CUdeviceptr{0};
  }
  return device_.kernels.write_guards(residents_.guards);
}

PlanAddresses DeviceMeasure::addresses_of(const Contender& contender, const Layout& layout) const {
  PlanAddresses addresses;
  addresses.inputs.resize(problem_.inputs.size());
  for (size_t i = 0; i < call_inputs_.size(); ++i) {
    addresses.inputs[call_inputs_[i]] = layout.addresses[i];
  }
  for (size_t i = 0; i < resident_inputs_.size(); ++i) {
    addresses.inputs[resident_inputs_[i]] = residents_.addresses[i];
  }
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    addresses.outputs.push_back(layout.addresses[call_inputs_.size() + i]);
  }
  addresses.workspace = layout.addresses.back();
  addresses.prepared = contender.prepared;
  return addresses;
}

std::optional<DeviceMeasure::CallFault> DeviceMeasure::settle(const BoundPlan& bound,
                                                              bool is_stepwise) {
  const auto waited = device_.context.wait(problem_.call_timeout_s);
  if (waited) return std::nullopt;
  std::string where = bound.num_steps() == 1 ? bound.step_name(0) : "the call";
  if (is_stepwise) {
    const size_t done = *device_.progress.as<volatile uint32_t>();
    if (done < bound.num_steps()) where = bound.step_name(done);
  }
  if (waited.error().code == ErrorCode::kTimeout) {
    return CallFault{{FaultKind::kTimeout, where + " " + waited.error().message}, true};
  }
  return CallFault{device_fault(waited.error().message, where), true};
}

// Weights are laid out once for the contender's resident inputs.
DeviceMeasure::Outcome DeviceMeasure::prepare(Contender& contender, LayoutRandom& random,
                                              double* prepare_ns) {
  if (contender.plan.prepared_bytes == 0) return std::nullopt;
  const Layout layout = lay_out(call_buffers(contender.plan.workspace_bytes),
                                device_.arena.address(), call_room_, problem_.salt, random);
  for (size_t i = 0; i < call_inputs_.size(); ++i) {
    FIB_CHECK(fill_input(call_inputs_[i], *resident_set_, layout.addresses[i]));
  }
  FIB_CHECK(poison(contender.prepared, contender.plan.prepared_bytes, random));
  auto bound = BoundPlan::bind(*contender.kernels, contender.plan, addresses_of(contender, layout));
  if (!bound) return CallFault{{FaultKind::kLaunchFailed, bound.error().message}};
  const CudaDriver& driver = device_.context.driver();
  FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
  const auto start = std::chrono::steady_clock::now();
  if (auto launched = bound->prepare(device_.context.stream()); !launched) {
    return CallFault{{FaultKind::kLaunchFailed, launched.error().message}};
  }
  if (auto waited = device_.context.wait(problem_.call_timeout_s); !waited) {
    const bool hung = waited.error().code == ErrorCode::kTimeout;
    return CallFault{hung ? Fault{FaultKind::kTimeout, "the prepare step " + waited.error().message}
                          : device_fault(waited.error().message, "the prepare step"),
                     true};
  }
  if (prepare_ns) {
    *prepare_ns =
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  }
  FIB_CHECK(driver.check(driver.cuMemsetD8Async(report_at(0), 0, sizeof(CallReport),
                                                device_.context.stream()),
                         "report"));
  const CUdeviceptr digest = report_at(offsetof(CallReport, prepared_digest));
  FIB_CHECK(device_.kernels.digest({.address = contender.prepared,
                                    .bytes = contender.plan.prepared_bytes,
                                    .salt = problem_.salt + kPreparedSalt,
                                    .digest = digest}));
  contender.prepared_digest = FIB_TRY(read_digest(digest));
  return std::nullopt;
}

DeviceMeasure::Outcome DeviceMeasure::launch_stepwise(const BoundPlan& bound) {
  const CudaDriver& driver = device_.context.driver();
  *device_.progress.as<volatile uint32_t>() = 0;
  for (size_t step = 0; step < bound.num_steps(); ++step) {
    if (auto launched = bound.replay_step(step, device_.context.stream()); !launched) {
      if (auto broken = settle(bound, true)) return broken;
      return CallFault{{FaultKind::kLaunchFailed, launched.error().message}};
    }
    FIB_CHECK(driver.check(
        driver.cuStreamWriteValue32(device_.context.stream(), device_.progress.device_address(),
                                    static_cast<uint32_t>(step + 1), 0),
        "cuStreamWriteValue32"));
  }
  return settle(bound, true);
}

DeviceMeasure::Outcome DeviceMeasure::launch_timed(const Call& call, const BoundPlan& bound) {
  const CUstream stream = device_.context.stream();
  if (call.mode != TimingMode::kWarm) FIB_CHECK(device_.kernels.flush_l2(call.random()));
  if (call.is_timed) FIB_CHECK(device_.clock.begin_call(stream));
  const auto launched = bound.replay(stream);
  if (call.is_timed) {
    FIB_CHECK(device_.clock.end_call(stream));
    was_timed_ = true;
  }
  if (!launched) {
    if (auto broken = settle(bound, false)) return broken;
    return CallFault{{FaultKind::kLaunchFailed, launched.error().message}};
  }
  return std::nullopt;
}

DeviceMeasure::Outcome DeviceMeasure::launch_graph(const Call& call, const BoundPlan& bound) {
  const CudaDriver& driver = device_.context.driver();
  const CUstream stream = device_.context.stream();
  struct Graph {
    const CudaDriver& driver;
    CUgraph graph = nullptr;
    CUgraphExec executable = nullptr;
    ~Graph() {
      if (executable) driver.cuGraphExecDestroy(executable);
      if (graph) driver.cuGraphDestroy(graph);
    }
  } graph{driver};
  FIB_CHECK(driver.check(driver.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                         "cuStreamBeginCapture"));
  const auto captured = bound.replay(stream);
  const CUresult ended = driver.cuStreamEndCapture(stream, &graph.graph);
  if (!captured || ended != CUDA_SUCCESS) {
    return CallFault{{FaultKind::kLaunchFailed,
                      "the plan can't be captured into a graph: " +
                          (captured ? driver.describe(ended) : captured.error().message)}};
  }
  if (const CUresult made = driver.cuGraphInstantiate(&graph.executable, graph.graph, 0);
      made != CUDA_SUCCESS) {
    return CallFault{{FaultKind::kLaunchFailed, "no graph of the plan: " + driver.describe(made)}};
  }
  FIB_CHECK(device_.kernels.flush_l2(call.random()));
  if (call.is_timed) FIB_CHECK(device_.clock.begin_call(stream));
  const CUresult launched = driver.cuGraphLaunch(graph.executable, stream);
  if (call.is_timed) {
    FIB_CHECK(device_.clock.end_call(stream));
    was_timed_ = true;
  }
  if (launched != CUDA_SUCCESS) {
    if (auto broken = settle(bound, false)) return broken;
    return CallFault{{FaultKind::kLaunchFailed, "graph launch: " + driver.describe(launched)}};
  }
  // Before the graph is destroyed.
  return settle(bound, false);
}

DeviceMeasure::Outcome DeviceMeasure::launch(const Call& call, const BoundPlan& bound,
                                             const Layout& layout) {
  if (call.is_stepwise) return launch_stepwise(bound);
  if (call.mode == TimingMode::kGraph) return launch_graph(call, bound);
  if (call.mode == TimingMode::kWarm) {
    if (auto launched = bound.replay(device_.context.stream()); !launched) {
      return CallFault{{FaultKind::kLaunchFailed, launched.error().message}};
    }
    // The first run's outputs would do for the second's.
    for (size_t i = 0; i < problem_.outputs.size(); ++i) {
      FIB_CHECK(poison(layout.addresses[call_inputs_.size() + i], problem_.outputs[i].bytes,
                       call.random));
    }
  }
  return launch_timed(call, bound);
}

DeviceMeasure::Outcome DeviceMeasure::run_call(const Call& call) {
  Contender& contender = call.contender;
  const CudaDriver& driver = device_.context.driver();
  const CUstream stream = device_.context.stream();
  was_timed_ = false;
  const Layout layout = lay_out(call_buffers(contender.plan.workspace_bytes),
                                device_.arena.address(), call_room_, call.random(), call.random);
  for (size_t i = 0; i < call_inputs_.size(); ++i) {
    FIB_CHECK(fill_input(call_inputs_[i], call.set, layout.addresses[i]));
  }
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    FIB_CHECK(poison(layout.addresses[call_inputs_.size() + i], problem_.outputs[i].bytes,
                     call.random));
  }
  FIB_CHECK(poison(layout.addresses.back(), contender.plan.workspace_bytes, call.random));
  FIB_CHECK(device_.kernels.write_guards(layout.guards));
  FIB_CHECK(driver.check(driver.cuMemsetD8Async(report_at(0), 0, sizeof(CallReport), stream),
                         "report"));
  if (const std::pair key{call.set, call.checks_residents}; !input_digests_.contains(key)) {
    const CUdeviceptr digest = report_at(offsetof(CallReport, input_digest));
    FIB_CHECK(digest_inputs(layout, call.checks_residents, digest));
    input_digests_[key] = FIB_TRY(read_digest(digest));
    FIB_CHECK(driver.check(driver.cuMemsetD8Async(digest, 0, sizeof(Digest), stream), "report"));
  }
  if (contender.has_state) {
    contender.kernels.reset();
    contender.kernels = FIB_TRY(LoadedKernels::load(device_.context.driver_ptr(), contender.cubin,
                                                    contender.names));
    FIB_CHECK(contender.kernels->allow(contender.plan));
  }
  auto bound = BoundPlan::bind(*contender.kernels, contender.plan, addresses_of(contender, layout));
  if (!bound) return CallFault{{FaultKind::kLaunchFailed, bound.error().message}};
  // What came before is ours: if that broke something, it must not look like the candidate's.
  if (call.is_stepwise) FIB_CHECK(device_.context.wait(problem_.call_timeout_s));

  if (auto broken = FIB_TRY(launch(call, *bound, layout))) return broken;
  FIB_CHECK(digest_outputs(layout, report_at(offsetof(CallReport, output_digest))));
  FIB_CHECK(digest_inputs(layout, call.checks_residents,
                          report_at(offsetof(CallReport, input_digest))));
  if (call.checks_residents && contender.plan.prepared_bytes > 0) {
    FIB_CHECK(device_.kernels.digest({.address = contender.prepared,
                                      .bytes = contender.plan.prepared_bytes,
                                      .salt = problem_.salt + kPreparedSalt,
                                      .digest = report_at(offsetof(CallReport, prepared_digest))}));
  }
  FIB_CHECK(device_.kernels.check_guards(layout.guards, report_at(0)));
  if (auto broken = settle(*bound, false)) return broken;
  // Nothing may arrive after the call has ended: the same digest once more, with the device idle.
  FIB_CHECK(digest_outputs(layout, report_at(offsetof(CallReport, settled_digest))));
  return judge_report(call, layout);
}

DeviceMeasure::Outcome DeviceMeasure::judge_report(const Call& call, const Layout& layout) {
  const CudaDriver& driver = device_.context.driver();
  const auto read = [&]() -> Result<CallReport> {
    CallReport* copy = device_.report_copy.as<CallReport>();
    FIB_CHECK(driver.check(driver.cuMemcpyDtoHAsync(copy, report_at(0), sizeof(CallReport),
                                                    device_.context.stream()),
                           "report"));
    FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
    return *copy;
  };
  const CallReport report = FIB_TRY(read());
  const auto digest = [](const fib_u64 (&words)[2]) { return Digest{{words[0], words[1]}}; };
  if (report.bad_guard != 0) {
    return CallFault{{FaultKind::kOutOfBounds,
                      "memory was written " + guard_place(layout, report.bad_guard - 1)}};
  }
  if (!residents_.names.empty()) {
    FIB_CHECK(driver.check(driver.cuMemsetD8Async(report_at(offsetof(CallReport, bad_guard)), 0,
                                                  sizeof report.bad_guard,
                                                  device_.context.stream()),
                           "report"));
    FIB_CHECK(device_.kernels.check_guards(residents_.guards, report_at(0)));
    if (const uint64_t bad = FIB_TRY(read()).bad_guard; bad != 0) {
      return CallFault{
          {FaultKind::kOutOfBounds, "memory was written " + guard_place(residents_, bad - 1)}};
    }
  }
  if (digest(report.input_digest) != input_digests_.at({call.set, call.checks_residents})) {
    return CallFault{{FaultKind::kInputModified, "the call changed one of its inputs"}};
  }
  if (call.checks_residents && call.contender.plan.prepared_bytes > 0 &&
      digest(report.prepared_digest) != call.contender.prepared_digest) {
    return CallFault{{FaultKind::kInputModified,
                      "the call changed its prepared memory, which only prepare steps may write"}};
  }
  const Digest output = digest(report.output_digest);
  if (digest(report.settled_digest) != output) {
    return CallFault{{FaultKind::kUnstableOutput, "an output changed after the call had ended"}};
  }
  if (!FIB_TRY(keep_output(call.contender, call.set, output, layout))) {
    return CallFault{{FaultKind::kUnstableOutput,
                      "the output differs from call to call on the same inputs, more often than "
                      "there is memory to check"}};
  }
  return std::nullopt;
}

// An output that has been seen needs no second check; a new one is kept until the expected values
// may be looked at, as long as there is memory.
Result<bool> DeviceMeasure::keep_output(Contender& contender, uint32_t set, const Digest& digest,
                                        const Layout& layout) {
  std::vector<KeptOutput>& versions = contender.kept[set];
  for (const KeptOutput& version : versions) {
    if (version.digest == digest) return true;
  }
  KeptOutput kept{digest, DeviceMemory(device_.context.driver())};
  if (versions.empty()) {
    kept.address = device_.kept.address() + kept_used_;
    kept_used_ += outputs_bytes_;
  } else {
    if (outputs_bytes_ > extra_kept_bytes_) return false;
    extra_kept_bytes_ -= outputs_bytes_;
    if (!kept.own.reserve(std::max<uint64_t>(outputs_bytes_, kBufferAlign))) return false;
    kept.address = kept.own.address();
  }
  const CudaDriver& driver = device_.context.driver();
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    if (problem_.outputs[i].bytes == 0) continue;
    FIB_CHECK(driver.check(
        driver.cuMemcpyDtoDAsync(kept.address + output_offsets_[i],
                                 layout.addresses[call_inputs_.size() + i],
                                 problem_.outputs[i].bytes, device_.context.stream()),
        "keeping an output"));
  }
  versions.push_back(std::move(kept));
  return true;
}

Result<DeviceMeasure::CheckAnswer> DeviceMeasure::check(uint32_t index, uint32_t set,
                                                        uint64_t seed) {
  FIB_CHECK(arrange());
  LayoutRandom random(seed);
  Contender& contender = contenders_.at(index);
  CheckAnswer answer;
  if (resident_set_ != set) FIB_CHECK(place_residents(set, random));
  auto fault = FIB_TRY(prepare(contender, random, &answer.prepare_ns));
  if (!fault) {
    fault = FIB_TRY(run_call(
        {.contender = contender, .set = set, .is_stepwise = true, .random = random}));
  }
  if (fault) {
    answer.fault = std::move(fault->fault);
    answer.lost = fault->lost;
  }
  return answer;
}

Result<BlockAnswer> DeviceMeasure::block(const BlockRequest& request) {
  LayoutRandom random(request.seed);
  BlockAnswer answer;
  std::vector<uint32_t> active = request.contenders;
  const auto drop = [&](uint32_t contender, CallFault fault) {
    answer.faults.push_back({contender, std::move(fault.fault)});
    answer.lost = answer.lost || fault.lost;
    std::erase(active, contender);
  };

  const bool has_residents = resident_bytes_ > 0;
  if (has_residents) {
    FIB_CHECK(place_residents(request.set, random));
    for (const uint32_t index : request.contenders) {
      if (auto fault = FIB_TRY(prepare(contenders_.at(index), random, nullptr))) {
        drop(index, *std::move(fault));
        if (answer.lost) return answer;
      }
    }
  }
  const uint32_t rounds = request.warmup_rounds + request.rounds;
  for (uint32_t i = 0; i < rounds && !active.empty(); ++i) {
    const uint32_t set =
        has_residents ? request.set : static_cast<uint32_t>(random() % problem_.sets.size());
    std::vector<uint32_t> order = active;
    std::shuffle(order.begin(), order.end(), random);
    for (const uint32_t index : order) {
      const bool is_timed = i >= request.warmup_rounds;
      const bool checks_residents = resident_bytes_ <= kCheapResidents ||
                                    contenders_.size() > 1 || i + 1 == rounds;
      auto fault = FIB_TRY(run_call({.contender = contenders_.at(index),
                                     .set = set,
                                     .mode = request.mode,
                                     .is_timed = is_timed,
                                     .checks_residents = checks_residents,
                                     .random = random}));
      if (was_timed_) {  // also a call that failed its checks: the clock has it
        answer.samples.push_back({.contender = index,
                                  .value_set = set,
                                  .round = request.first_round + i - request.warmup_rounds});
      }
      if (fault) {
        drop(index, *std::move(fault));
        if (answer.lost) return answer;
      } else {
        ++answer.calls_checked;
      }
    }
  }
  const NvmlReading clocks =
      device_.nvml ? device_.nvml->read(device_.nvml_device) : NvmlReading{};
  const std::vector<CallRecord> records = FIB_TRY(device_.clock.collect());
  if (records.size() != answer.samples.size()) {
    return fail(ErrorCode::kEnvironment, fmt::format("{} calls timed, {} records",
                                                     answer.samples.size(), records.size()));
  }
  for (size_t i = 0; i < records.size(); ++i) {
    Sample& sample = answer.samples[i];
    sample.time_ns = records[i].time_ns;
    sample.sm_clock_mhz = clocks.sm_clock_mhz;
    sample.memory_clock_mhz = clocks.memory_clock_mhz;
    sample.throttle_reasons = static_cast<uint32_t>(clocks.throttle_reasons);
    if (std::find(active.begin(), active.end(), sample.contender) == active.end()) continue;
    if (sample.time_ns == 0.0) {
      return fail(ErrorCode::kEnvironment, "no activity was recorded for a timed call", "CUPTI");
    }
    if (!note_kernels(contenders_[sample.contender], records[i], request.mode)) {
      drop(sample.contender, {{FaultKind::kNotDeterministicShape,
                               "the kernels of a timed call differ from those of the first"}});
    }
  }
  for (const Contender& contender : contenders_) answer.kernels.push_back(shares_of(contender));
  return answer;
}

bool DeviceMeasure::note_kernels(Contender& contender, const CallRecord& record, TimingMode mode) {
  const auto same = [](const KernelRecord& a, const KernelRecord& b) {
    return a.name == b.name && std::equal(a.grid, a.grid + 3, b.grid) &&
           std::equal(a.block, a.block + 3, b.block);
  };
  const auto [first, is_first] = contender.launches.emplace(mode, record.kernels);
  const std::vector<KernelRecord>& expected = first->second;
  // Kernels that overlap may start in either order.
  if (!std::is_permutation(record.kernels.begin(), record.kernels.end(), expected.begin(),
                           expected.end(), same)) {
    return false;
  }
  if (mode == TimingMode::kCold) {
    contender.kernel_ns.resize(expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      contender.kernel_ns[i] += record.kernels[i].duration_ns;
    }
  }
  return true;
}

std::vector<KernelShare> DeviceMeasure::shares_of(const Contender& contender) const {
  const auto cold = contender.launches.find(TimingMode::kCold);
  if (cold == contender.launches.end()) return {};
  const double total =
      std::accumulate(contender.kernel_ns.begin(), contender.kernel_ns.end(), 0.0);
  std::vector<KernelShare> shares;
  for (size_t i = 0; i < cold->second.size(); ++i) {
    const KernelRecord& kernel = cold->second[i];
    KernelShare share{.name = kernel.name,
                      .share = total > 0.0 ? contender.kernel_ns[i] / total : 0.0,
                      .registers = kernel.registers,
                      .shared_bytes = kernel.shared_bytes};
    std::copy_n(kernel.grid, 3, share.grid);
    std::copy_n(kernel.block, 3, share.block);
    shares.push_back(std::move(share));
  }
  return shares;
}

Result<std::vector<KeptStats>> DeviceMeasure::compare(const CompareRequest& request,
                                                      std::span<const std::byte> staging) {
  const CudaDriver& driver = device_.context.driver();
  const CUstream stream = device_.context.stream();
  std::vector<std::pair<uint32_t, const KeptOutput*>> versions;
  for (uint32_t index = 0; index < contenders_.size(); ++index) {
    const auto kept = contenders_[index].kept.find(request.set);
    if (kept == contenders_[index].kept.end()) continue;
    for (const KeptOutput& version : kept->second) versions.emplace_back(index, &version);
  }
  const uint64_t stats_bytes = std::max<size_t>(versions.size(), 1) * sizeof(DeviceErrorStats);
  if (request.first == 0) {
    FIB_CHECK(device_.stats.reserve(stats_bytes));
    FIB_CHECK(driver.check(
        driver.cuMemsetD8Async(device_.stats.address(), 0, stats_bytes, stream), "statistics"));
    for (size_t i = 0; i < versions.size(); ++i) {
      FIB_CHECK(driver.check(
          driver.cuMemsetD8Async(device_.stats.address() + i * sizeof(DeviceErrorStats) +
                                     offsetof(DeviceErrorStats, first_bad_index),
                                 0xFF, sizeof(fib_u64), stream),
          "statistics"));
    }
  }
  const uint64_t bytes = (request.count + request.row_scales) * sizeof(float);
  if (request.count > 0) {
    FIB_CHECK(device_.expected.reserve(kStagingBytes));
    FIB_CHECK(driver.check(
        driver.cuMemcpyHtoDAsync(device_.expected.address(), staging.data(), bytes, stream),
        "upload of expected values"));
    for (size_t i = 0; i < versions.size(); ++i) {
      FIB_CHECK(device_.kernels.compare(
          {.candidate = versions[i].second->address + output_offsets_.at(request.output),
           .expected = device_.expected.address(),
           .row_scale = device_.expected.address() + request.count * sizeof(float),
           .stats = device_.stats.address() + i * sizeof(DeviceErrorStats),
           .first = request.first,
           .count = request.count,
           .row_length = request.row_length,
           .max_error_rms = request.max_error_rms,
           .format = element_format(problem_.outputs.at(request.output).dtype)}));
    }
  }
  std::vector<KeptStats> answer;
  if (request.is_last) {
    std::vector<DeviceErrorStats> stats(versions.size());
    FIB_CHECK(driver.check(
        driver.cuMemcpyDtoHAsync(stats.data(), device_.stats.address(),
                                 versions.size() * sizeof(DeviceErrorStats), stream),
        "statistics"));
    FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
    for (size_t i = 0; i < versions.size(); ++i) answer.push_back({versions[i].first, stats[i]});
    return answer;
  }
  FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
  return answer;
}

}  // namespace fib
