#pragma once

// A dispatch whose kernels can be exchanged for another one's while they serve.
//
// propose() hands over a candidate. Piece by piece, between steps, its kernels are resolved and
// weights are laid out for them (warming). Then a sample of live calls runs on both (shadowing,
// ShadowRun). When the candidate has agreed on every signature that is called, its kernels serve
// from the next step on; one that is called later follows when it has agreed. For some time the
// kernels before are kept (watching): the sample goes on, and a difference, an error of a new
// kernel or a step that fails has the old ones serve again, for good, beginning with that step.
//
// What can't be undone: a kernel that crashes or hangs takes the process or the card along, and
// what a wrong one computed for others before it was found out stays where it is.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "integrations/package/dispatch.h"
#include "integrations/package/shadow.h"
#include "integrations/package/swap_status.h"
#include "integrations/package/taps.h"

namespace fib {

class SwappableDispatch final : public Dispatch {
 public:
  // Opens the candidate, on the device's thread, where steps wait for it; or says why it could not
  // be loaded.
  using Opener = std::function<Result<std::unique_ptr<Dispatch>>()>;

  // `name`: what status() calls the dispatch that serves first.
  SwappableDispatch(std::unique_ptr<Dispatch> first, std::string name, SwapOptions options);
  ~SwappableDispatch() override;

  // From any thread, in this order; then tend() has to be called. kConflict: another candidate is
  // being loaded. One that warms up or is shadowed gives way; one that is watched serves for good.
  Result<void> begin_loading(std::string name);
  void propose(Opener open);

  SwapStatus status() const;  // from any thread

  // Dispatch, on the device's thread.
  ServingDevice& device() override { return device_; }
  Result<Kernel*> resolve(const SignatureRequest& request) override;
  Result<void> prefetch(const std::vector<SignatureRequest>& requests,
                        const Progress& progress) override;
  void add_tap(CallTap& tap) override { taps_.add(tap); }
  void remove_tap(CallTap& tap) override { taps_.remove(tap); }
  Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) override;
  Result<void> time_calls(const std::function<Result<void>()>& work) override {
    return taps_.time_calls(device_, work);
  }
  Result<void> run_step(const std::function<Result<void>()>& work) override {
    return taps_.run_step(work);
  }
  bool wants_computed() const override { return taps_.wants_computed(); }
  std::vector<const Kernel*> kernels() const override;
  bool tend() override;
  StepManner begin_step() override;
  bool take_back(const Error& error) override;
  uint64_t generation() const override { return generation_; }

 private:
  class SwappableKernel;
  class SwappableWeights;
  struct Binding;
  struct Package {
    std::string name;
    std::unique_ptr<Dispatch> dispatch;
  };
  using PackagePtr = std::shared_ptr<Package>;
  // What is no longer used, until no graph holds it any more.
  struct Retired {
    PackagePtr package;
    std::vector<std::unique_ptr<PreparedWeights>> weights;  // goes before its package
  };

  void open_proposed();
  void warm_next();
  void settle_failures();
  void switch_agreed();
  void end_watch();
  void roll_back(std::string why);
  void drop_candidate(std::string why);  // that doesn't serve
  bool has_two_kernels() const;          // some signature has
  void enter(SwapState state);
  void publish();

  ServingDevice& device_;
  const SwapOptions options_;

  // Of the device's thread.
  TapList taps_;
  ShadowRun shadow_;
  std::vector<std::unique_ptr<SwappableKernel>> kernels_;
  std::map<std::string, SwappableKernel*> by_request_;
  SwapState state_ = SwapState::kServing;
  PackagePtr serving_, candidate_;
  std::vector<Retired> retired_;
  size_t warm_kernel_ = 0, warm_set_ = 0;  // next to be warmed
  int steps_ = 0;                          // in this state
  bool compares_ = false;                  // in this step
  bool is_recording_ = false;              // a graph
  bool is_opened_ = false;                 // what was loading, which is to be published
  uint64_t generation_ = 0, num_switched_ = 0, num_rolled_back_ = 0;
  std::string dropped_, reason_;  // the last candidate that was, and why

  mutable std::mutex mutex_;  // of what follows
  SwapStatus status_;
  std::string loading_;  // name of what is being loaded; "": nothing
  std::optional<Opener> proposed_;
};

}  // namespace fib
