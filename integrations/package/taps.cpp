#include "integrations/package/taps.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fib {
namespace {

using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

class RecordedGraph final : public DeviceGraph {
 public:
  RecordedGraph(std::unique_ptr<DeviceGraph> graph, std::vector<RecordedCall> calls,
                const TapList& taps)
      : graph_(std::move(graph)), calls_(std::move(calls)), taps_(taps) {}

  Result<void> launch() override {
    const auto start = Clock::now();
    FIB_CHECK(graph_->launch());
    taps_.show(calls_, ns_since(start));
    return {};
  }

 private:
  std::unique_ptr<DeviceGraph> graph_;
  std::vector<RecordedCall> calls_;
  const TapList& taps_;
};

}  // namespace

Result<std::unique_ptr<DeviceGraph>> TapList::capture(ServingDevice& device,
                                                      const std::function<Result<void>()>& record) {
  std::vector<RecordedCall> calls;
  recording_ = &calls;
  auto graph = device.capture(record);
  recording_ = nullptr;
  return std::make_unique<RecordedGraph>(FIB_TRY(std::move(graph)), std::move(calls), *this);
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
    FIB_CHECK(kernel.run(call));
    recording_->push_back({.kernel = &views.of(kernel.solution()),
                           .inputs = {call.inputs.begin(), call.inputs.end()},
                           .outputs = {call.outputs.begin(), call.outputs.end()},
                           .prepared = call.prepared,
                           .values = call.values});
    return {};
  }
  if (taps_.empty()) return kernel.run(call);
  const auto start = Clock::now();
  FIB_CHECK(kernel.run(call));
  const double host_ns = ns_since(start);
  const Kernel& shown = views.of(kernel.solution());
  for (CallTap* tap : taps_) tap->on_call(shown, call, host_ns);
  return {};
}

void TapList::show(const std::vector<RecordedCall>& calls, double host_ns) const {
  const double share_ns = calls.empty() ? 0.0 : host_ns / static_cast<double>(calls.size());
  for (const RecordedCall& recorded : calls) {
    const KernelCall call{recorded.inputs, recorded.outputs, recorded.prepared, recorded.values};
    for (CallTap* tap : taps_) tap->on_call(*recorded.kernel, call, share_ns);
  }
}

}  // namespace fib
