#include "integrations/package/taps.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fib {
namespace {

using SteadyClock = std::chrono::steady_clock;

double ns_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::nano>(SteadyClock::now() - start).count();
}

bool has_computed_input(const KernelCall& call) {
  return std::any_of(call.inputs.begin(), call.inputs.end(),
                     [](const Operand& input) { return input.host_at_end != nullptr; });
}

class RecordedGraph final : public DeviceGraph {
 public:
  RecordedGraph(std::unique_ptr<DeviceGraph> graph, std::vector<RecordedCall> calls,
                std::unique_ptr<TimedCalls> timed, TapList& taps)
      : graph_(std::move(graph)), calls_(std::move(calls)), timed_(std::move(timed)), taps_(taps) {}

  Result<void> launch() override {
    const auto start = SteadyClock::now();
    FIB_CHECK(graph_->launch());
    taps_.show(calls_, ns_since(start));
    if (timed_) taps_.passed(*timed_);
    return {};
  }

 private:
  std::unique_ptr<DeviceGraph> graph_;
  std::vector<RecordedCall> calls_;
  std::unique_ptr<TimedCalls> timed_;  // null: captured outside time_calls
  TapList& taps_;
};

}  // namespace

RecordedCall::RecordedCall(const Kernel& kernel, const KernelCall& call)
    : kernel(&kernel),
      inputs(call.inputs.begin(), call.inputs.end()),
      outputs(call.outputs.begin(), call.outputs.end()),
      prepared(call.prepared),
      values(call.values),
      padding_rows(call.padding_rows) {}

KernelCall RecordedCall::call() const { return {inputs, outputs, prepared, values, padding_rows}; }

Result<std::unique_ptr<DeviceGraph>> TapList::capture(ServingDevice& device,
                                                      const std::function<Result<void>()>& record) {
  std::vector<RecordedCall> calls;
  std::unique_ptr<TimedCalls> timed;
  if (timing_ != nullptr) timed = std::make_unique<TimedCalls>(TimedCalls{device.make_timer(), {}});
  TimedCalls* const around = std::exchange(timing_, timed.get());
  recording_ = &calls;
  auto graph = device.capture(record);
  recording_ = nullptr;
  timing_ = around;
  return std::make_unique<RecordedGraph>(FIB_TRY(std::move(graph)), std::move(calls),
                                         std::move(timed), *this);
}

Result<void> TapList::time_calls(ServingDevice& device, const std::function<Result<void>()>& work) {
  if (!direct_.timer) direct_.timer = device.make_timer();
  direct_.calls.clear();
  passed_.clear();
  timing_ = &direct_;
  const Result<void> done = work();
  timing_ = nullptr;
  FIB_CHECK(done);
  FIB_CHECK(tell_times(direct_));
  for (const TimedCalls* calls : passed_) FIB_CHECK(tell_times(*calls));
  return {};
}

Result<void> TapList::tell_times(const TimedCalls& calls) const {
  for (size_t i = 0; i < calls.calls.size(); ++i) {
    const RecordedCall& timed = calls.calls[i];
    const double device_ns = FIB_TRY(calls.timer->elapsed_ns(2 * i, 2 * i + 1));
    for (CallTap* tap : taps_) tap->on_device_time(*timed.kernel, timed.call(), device_ns);
  }
  return {};
}

bool TapList::wants_computed() const {
  return std::any_of(taps_.begin(), taps_.end(),
                     [](const CallTap* tap) { return tap->wants_computed(); });
}

Result<void> TapList::run_step(const std::function<Result<void>()>& work) {
  late_.clear();
  keeps_late_ = wants_computed();
  const Result<void> done = work();
  keeps_late_ = false;
  FIB_CHECK(done);
  show_late();
  return {};
}

void TapList::show_late() const {
  for (const LateCall& late : late_) {
    for (CallTap* tap : taps_) {
      if (tap->wants_computed()) tap->on_call(*late.call.kernel, late.call.call(), late.host_ns);
    }
  }
}

class SolutionViews::View final : public Kernel {
 public:
  View(Kernel& kernel, std::string_view solution) : kernel_(kernel), solution_(solution) {}
  const Signature& signature() const override { return kernel_.signature(); }
  std::string_view solution() const override { return solution_; }
  Result<void> run(const KernelCall& call) override { return kernel_.run(call); }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
    return kernel_.prepare(inputs);
  }

 private:
  Kernel& kernel_;
  const std::string solution_;  // its own: the package that said it may go
};

const Kernel& SolutionViews::of(std::string_view solution) {
  auto view = std::find_if(views_.begin(), views_.end(),
                           [&](const auto& known) { return known->solution() == solution; });
  if (view == views_.end()) {
    view = views_.insert(views_.begin(), std::make_unique<View>(kernel_, solution));
  }
  std::iter_swap(views_.begin(), view);
  return *views_.front();
}

Result<void> TapList::run(Kernel& kernel, SolutionViews& views, const KernelCall& call) {
  if (recording_ != nullptr) {
    recording_->emplace_back(*FIB_TRY(enqueue(kernel, views, call)), call);
    return {};
  }
  if (taps_.empty()) return kernel.run(call);
  const auto start = SteadyClock::now();
  const Kernel* shown = FIB_TRY(enqueue(kernel, views, call));
  show(*shown, call, ns_since(start));
  return {};
}

void TapList::show(const Kernel& kernel, const KernelCall& call, double host_ns) {
  const bool is_late = keeps_late_ && has_computed_input(call);
  for (CallTap* tap : taps_) {
    if (!is_late || !tap->wants_computed()) tap->on_call(kernel, call, host_ns);
  }
  if (!is_late) return;
  RecordedCall kept(kernel, call);
  for (Operand& input : kept.inputs) {
    if (input.host_at_end != nullptr) input.host = input.host_at_end;
  }
  late_.push_back({std::move(kept), host_ns});
}

Result<const Kernel*> TapList::enqueue(Kernel& kernel, SolutionViews& views,
                                       const KernelCall& call) {
  if (timing_ == nullptr) {
    FIB_CHECK(kernel.run(call));
    return &views.of(kernel.solution());
  }
  const size_t mark = 2 * timing_->calls.size();
  FIB_CHECK(timing_->timer->mark(mark));
  FIB_CHECK(kernel.run(call));
  FIB_CHECK(timing_->timer->mark(mark + 1));
  return timing_->calls.emplace_back(views.of(kernel.solution()), call).kernel;
}

void TapList::show(const std::vector<RecordedCall>& calls, double host_ns) {
  const double share_ns = calls.empty() ? 0.0 : host_ns / static_cast<double>(calls.size());
  for (const RecordedCall& recorded : calls) show(*recorded.kernel, recorded.call(), share_ns);
}

}  // namespace fib
