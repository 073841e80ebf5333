// One call: its launches, and what is checked right after it. Expected values aren't known here.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "runners/cuda/device_measure.h"

namespace fib {
namespace {

Fault device_fault(std::string_view reason, std::string_view where) {
  return {FaultKind::kDeviceFault, fmt::format("{} in {}", reason, where)};
}

}  // namespace

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
    FIB_CHECK(furnish_outputs(layout, call.set, call.random));
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
  FIB_CHECK(furnish_outputs(layout, call.set, call.random));
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

}  // namespace fib
