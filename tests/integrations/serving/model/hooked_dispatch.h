#pragma once

// Kernels of another dispatch, each call of which a test may turn into something else.

#include <functional>
#include <memory>
#include <vector>

#include "integrations/package/dispatch.h"

namespace fib {

class HookedDispatch : public Dispatch {
 public:
  // Runs the call with the kernel, or does otherwise.
  using Hook = std::function<Result<void>(Kernel& kernel, const KernelCall& call)>;

  HookedDispatch(std::unique_ptr<Dispatch> inner, Hook hook)
      : inner_(std::move(inner)), hook_(std::move(hook)) {}

  ServingDevice& device() override { return inner_->device(); }
  Result<Kernel*> resolve(const SignatureRequest& request) override {
    kernels_.push_back(std::make_unique<HookedKernel>(*FIB_TRY(inner_->resolve(request)), hook_));
    return kernels_.back().get();
  }
  Result<void> prefetch(const std::vector<SignatureRequest>& requests,
                        const Progress& progress) override {
    return inner_->prefetch(requests, progress);
  }
  void add_tap(CallTap& tap) override { inner_->add_tap(tap); }
  void remove_tap(CallTap& tap) override { inner_->remove_tap(tap); }
  Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) override {
    return inner_->capture(record);
  }
  std::vector<const Kernel*> kernels() const override { return inner_->kernels(); }

 private:
  class HookedKernel : public Kernel {
   public:
    HookedKernel(Kernel& inner, const Hook& hook) : inner_(inner), hook_(hook) {}
    const Signature& signature() const override { return inner_.signature(); }
    std::string_view solution() const override { return inner_.solution(); }
    Result<void> run(const KernelCall& call) override { return hook_(inner_, call); }
    Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
      return inner_.prepare(inputs);
    }

   private:
    Kernel& inner_;
    const Hook& hook_;
  };

  const std::unique_ptr<Dispatch> inner_;
  const Hook hook_;
  std::vector<std::unique_ptr<HookedKernel>> kernels_;
};

}  // namespace fib
