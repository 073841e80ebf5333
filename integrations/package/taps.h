#pragma once

// Kernels that show their calls: to taps as they are made, and to a recording while a graph is
// captured, which shows them each time the graph is launched.

#include "integrations/package/dispatch.h"

namespace fib {

// A call kept for later: operands by value, the memory they point to is the caller's.
struct RecordedCall {
  RecordedCall(const Kernel& kernel, const KernelCall& call);
  KernelCall call() const;

  const Kernel* kernel;
  std::vector<Operand> inputs, outputs;
  const PreparedWeights* prepared;
  InputValues values;
  const int32_t* padding_rows;
};

// A kernel as each of the solutions that have served its calls: which one does can differ from call
// to call, and this is how taps and graphs tell them apart. They live as long as the kernel.
class SolutionViews {
 public:
  explicit SolutionViews(Kernel& kernel) : kernel_(kernel) {}
  const Kernel& of(std::string_view solution);

 private:
  class View;
  Kernel& kernel_;
  std::vector<std::unique_ptr<Kernel>> views_;  // the last one used comes first
};

// Calls with marks around them on the device's queue: 2i before and 2i + 1 after calls[i].
struct TimedCalls {
  std::unique_ptr<DeviceTimer> timer;
  std::vector<RecordedCall> calls;
};

class TapList {
 public:
  void add(CallTap& tap) { taps_.push_back(&tap); }
  void remove(CallTap& tap) { std::erase(taps_, &tap); }

  // As ServingDevice::capture; the graph refers to this list.
  Result<std::unique_ptr<DeviceGraph>> capture(ServingDevice& device,
                                               const std::function<Result<void>()>& record);

  // As Dispatch::time_calls.
  Result<void> time_calls(ServingDevice& device, const std::function<Result<void>()>& work);

  // As those of Dispatch.
  Result<void> run_step(const std::function<Result<void>()>& work);
  bool wants_computed() const;

  // Runs `kernel` and shows the call as that of the view of its solution.
  Result<void> run(Kernel& kernel, SolutionViews& views, const KernelCall& call);
  void show(const std::vector<RecordedCall>& calls, double host_ns);
  // A graph with these calls was launched. They stay until the work that is timed is done.
  void passed(const TimedCalls& calls) {
    if (timing_ != nullptr) passed_.push_back(&calls);
  }

 private:
  // Runs the call, between marks if it is timed, and returns the view of its solution.
  Result<const Kernel*> enqueue(Kernel& kernel, SolutionViews& views, const KernelCall& call);
  Result<void> tell_times(const TimedCalls& calls) const;
  // To all taps, or, if its computed inputs are to come, to those that don't wait for them.
  void show(const Kernel& kernel, const KernelCall& call, double host_ns);
  void show_late() const;

  struct LateCall {
    RecordedCall call;
    double host_ns = 0.0;
  };

  std::vector<CallTap*> taps_;
  std::vector<RecordedCall>* recording_ = nullptr;  // while capturing
  TimedCalls* timing_ = nullptr;                    // within time_calls: where marks go
  TimedCalls direct_;                               // calls outside graphs
  std::vector<const TimedCalls*> passed_;           // within time_calls: of graphs
  bool keeps_late_ = false;                         // within run_step, and some tap wants them
  std::vector<LateCall> late_;                      // calls to be shown when the step is done
};

// What a dispatch hands out.
class TappedKernel final : public Kernel {
 public:
  TappedKernel(std::unique_ptr<Kernel> kernel, TapList& taps)
      : kernel_(std::move(kernel)), taps_(taps), views_(*this) {}

  const Signature& signature() const override { return kernel_->signature(); }
  std::string_view solution() const override { return kernel_->solution(); }
  std::string_view lender() const override { return kernel_->lender(); }
  Result<void> run(const KernelCall& call) override { return taps_.run(*kernel_, views_, call); }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
    return kernel_->prepare(inputs);
  }

 private:
  std::unique_ptr<Kernel> kernel_;
  TapList& taps_;
  SolutionViews views_;
};

}  // namespace fib
