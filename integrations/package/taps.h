#pragma once

// Kernels that show their calls: to taps as they are made, and to a recording while a graph is
// captured, which shows them each time the graph is launched.

#include "integrations/package/dispatch.h"

namespace fib {

// A call kept for later: operands by value, the memory they point to is the caller's.
struct RecordedCall {
  const Kernel* kernel = nullptr;
  std::vector<Operand> inputs, outputs;
  const PreparedWeights* prepared = nullptr;
};

class TapList {
 public:
  void add(CallTap& tap) { taps_.push_back(&tap); }
  void remove(CallTap& tap) { std::erase(taps_, &tap); }

  // As ServingDevice::capture; the graph refers to this list.
  Result<std::unique_ptr<DeviceGraph>> capture(ServingDevice& device,
                                               const std::function<Result<void>()>& record);

  // Runs `kernel` and shows the call as `shown`'s.
  Result<void> run(Kernel& kernel, const Kernel& shown, const KernelCall& call);
  void show(const std::vector<RecordedCall>& calls, double host_ns) const;

 private:
  std::vector<CallTap*> taps_;
  std::vector<RecordedCall>* recording_ = nullptr;  // while capturing
};

// What a dispatch hands out.
class TappedKernel final : public Kernel {
 public:
  TappedKernel(std::unique_ptr<Kernel> kernel, TapList& taps)
      : kernel_(std::move(kernel)), taps_(taps) {}

  const Signature& signature() const override { return kernel_->signature(); }
  std::string_view solution() const override { return kernel_->solution(); }
  Result<void> run(const KernelCall& call) override { return taps_.run(*kernel_, *this, call); }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
    return kernel_->prepare(inputs);
  }

 private:
  std::unique_ptr<Kernel> kernel_;
  TapList& taps_;
};

}  // namespace fib
