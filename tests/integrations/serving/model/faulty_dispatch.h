#pragma once

// A dispatch whose kernels do as they should until a test has one of them fail, or give nonsense.

#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "integrations/package/dispatch.h"

namespace fib {

// Of the calls of signatures whose name starts with `signature`, the one that comes after `skipped`
// others. It happens once.
struct Fault {
  enum class Kind { kError, kNan } kind = Kind::kError;
  std::string signature;
  int skipped = 0;
};

class FaultyDispatch : public Dispatch {
 public:
  explicit FaultyDispatch(std::unique_ptr<Dispatch> healthy) : healthy_(std::move(healthy)) {}

  // While no request is running.
  void arm(Fault fault) { fault_ = std::make_unique<Fault>(std::move(fault)); }
  bool is_armed() const { return fault_ != nullptr; }

  ServingDevice& device() override { return healthy_->device(); }
  Result<Kernel*> resolve(const SignatureRequest& request) override {
    kernels_.push_back(std::make_unique<FaultyKernel>(*this, *FIB_TRY(healthy_->resolve(request))));
    return kernels_.back().get();
  }
  Result<void> prefetch(const std::vector<SignatureRequest>& requests,
                        const Progress& progress) override {
    return healthy_->prefetch(requests, progress);
  }
  void add_tap(CallTap& tap) override { healthy_->add_tap(tap); }
  void remove_tap(CallTap& tap) override { healthy_->remove_tap(tap); }
  Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) override {
    return healthy_->capture(record);
  }
  Result<void> time_calls(const std::function<Result<void>()>& work) override {
    return healthy_->time_calls(work);
  }
  std::vector<const Kernel*> kernels() const override { return healthy_->kernels(); }

 private:
  class FaultyKernel : public Kernel {
   public:
    FaultyKernel(FaultyDispatch& owner, Kernel& healthy) : owner_(owner), healthy_(healthy) {}
    const Signature& signature() const override { return healthy_.signature(); }
    std::string_view solution() const override { return healthy_.solution(); }
    Result<void> run(const KernelCall& call) override {
      const std::unique_ptr<Fault> fault = owner_.due(signature().name);
      if (fault && fault->kind == Fault::Kind::kError) {
        return fail(ErrorCode::kEnvironment, "the kernel gave up", signature().name);
      }
      FIB_CHECK(healthy_.run(call));
      if (fault) fill_with_nan(call.outputs[0]);
      return {};
    }
    Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
      return healthy_.prepare(inputs);
    }

   private:
    void fill_with_nan(const Operand& output) const {
      size_t bytes = static_cast<size_t>(bits_of(signature().outputs[0].dtype)) / 8;
      for (int i = 0; i < output.rank; ++i) bytes *= static_cast<size_t>(output.shape[i]);
      std::memset(output.data, 0xFF, bytes);  // of float32 and of bfloat16
    }

    FaultyDispatch& owner_;
    Kernel& healthy_;
  };

  std::unique_ptr<Fault> due(const std::string& signature) {
    const bool is_due =
        fault_ && signature.starts_with(fault_->signature) && fault_->skipped-- == 0;
    return is_due ? std::move(fault_) : nullptr;
  }

  std::unique_ptr<Dispatch> healthy_;
  std::vector<std::unique_ptr<FaultyKernel>> kernels_;
  std::unique_ptr<Fault> fault_;
};

}  // namespace fib
