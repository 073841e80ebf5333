#include "integrations/package/swappable_dispatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fib {

std::string_view swap_state_name(SwapState state) {
  switch (state) {
    case SwapState::kServing: return "serving";
    case SwapState::kLoading: return "loading";
    case SwapState::kWarming: return "warming";
    case SwapState::kShadowing: return "shadowing";
    case SwapState::kWatching: return "watching";
    case SwapState::kRolledBack: return "rolled back";
  }
  return "";
}

// The kernel that serves a request, and beside it, while there are two, the one of the candidate
// or, once that one serves, the one before.
struct SwappableDispatch::Binding {
  PackagePtr package;
  Kernel* kernel = nullptr;
  explicit operator bool() const { return kernel != nullptr; }
  // Who status() says it is of.
  std::string owner() const {
    return kernel->lender().empty() ? package->name : std::string(kernel->lender());
  }
};

// One set of weights, laid out for both.
class SwappableDispatch::SwappableWeights final : public PreparedWeights {
 public:
  SwappableWeights(SwappableKernel& kernel, std::span<const Operand> weights);
  ~SwappableWeights() override;
  size_t bytes() const override { return serving ? serving->bytes() : 0; }
  // Another package's kernels will want to lay them out anew.
  bool replaces_originals() const override { return false; }

  SwappableKernel& kernel;
  const std::vector<Operand> inputs;
  std::unique_ptr<PreparedWeights> serving, other;  // null: the kernel has no such step
};

class SwappableDispatch::SwappableKernel final : public Kernel {
 public:
  SwappableKernel(SwappableDispatch& owner, SignatureRequest request, Binding binding)
      : request(std::move(request)),
        serving(std::move(binding)),
        owner_(owner),
        signature_(serving.kernel->signature()),
        views_(*this) {}

  const Signature& signature() const override { return signature_; }
  std::string_view solution() const override { return serving.kernel->solution(); }
  Result<void> run(const KernelCall& call) override;
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override;

  bool has_agreed() const { return num_agreed >= owner_.options_.agreements; }
  bool serves(const PackagePtr& package) const { return serving.package == package; }
  Result<void> warm(size_t set);  // lays out these weights for `other`
  void exchange();
  void drop_other(std::vector<Retired>& retired);

  const SignatureRequest request;
  Binding serving, other;
  std::vector<SwappableWeights*> weights;  // that live
  int64_t num_offered = 0;                 // calls that could have been compared
  int64_t num_agreed = 0;                  // and were, and agreed
  std::string failure;                     // of `other`

 private:
  bool is_due();
  Result<void> run_both(const KernelCall& call, const PreparedWeights* other_prepared);

  SwappableDispatch& owner_;
  const Signature signature_;  // its own: packages come and go
  SolutionViews views_;
};

SwappableDispatch::SwappableWeights::SwappableWeights(SwappableKernel& owner,
                                                      std::span<const Operand> weights)
    : kernel(owner), inputs(weights.begin(), weights.end()) {
  kernel.weights.push_back(this);
}

SwappableDispatch::SwappableWeights::~SwappableWeights() { std::erase(kernel.weights, this); }

Result<std::unique_ptr<PreparedWeights>> SwappableDispatch::SwappableKernel::prepare(
    std::span<const Operand> inputs) {
  auto set = std::make_unique<SwappableWeights>(*this, inputs);
  set->serving = FIB_TRY(serving.kernel->prepare(inputs));
  if (other) set->other = FIB_TRY(other.kernel->prepare(inputs));
  return set;
}

Result<void> SwappableDispatch::SwappableKernel::warm(size_t set) {
  weights[set]->other = FIB_TRY(other.kernel->prepare(weights[set]->inputs));
  return {};
}

void SwappableDispatch::SwappableKernel::exchange() {
  std::swap(serving, other);
  for (SwappableWeights* set : weights) std::swap(set->serving, set->other);
}

void SwappableDispatch::SwappableKernel::drop_other(std::vector<Retired>& retired) {
  if (!other) return;
  Retired& old = retired.emplace_back();
  old.package = std::exchange(other, {}).package;
  for (SwappableWeights* set : weights) {
    if (set->other) old.weights.push_back(std::move(set->other));
  }
  num_offered = num_agreed = 0;
  failure.clear();
}

bool SwappableDispatch::SwappableKernel::is_due() {
  if (!other || !owner_.compares_ || owner_.is_recording_ || !failure.empty()) return false;
  return num_offered++ % owner_.options_.call_interval == 0;
}

Result<void> SwappableDispatch::SwappableKernel::run(const KernelCall& call) {
  const SwappableWeights* set = nullptr;
  if (call.prepared != nullptr) {
    set = dynamic_cast<const SwappableWeights*>(call.prepared);
    if (set == nullptr || &set->kernel != this) {
      return fail(ErrorCode::kInvalidInput, "the prepared weights are another kernel's",
                  signature_.name, "call Kernel::prepare once for each set of weights");
    }
  }
  KernelCall served = call;
  served.prepared = set != nullptr ? set->serving.get() : nullptr;
  if (!is_due()) return owner_.taps_.run(*serving.kernel, views_, served);
  return run_both(served, set != nullptr ? set->other.get() : nullptr);
}

Result<void> SwappableDispatch::SwappableKernel::run_both(const KernelCall& call,
                                                          const PreparedWeights* other_prepared) {
  const bool serves_candidate = serves(owner_.candidate_);
  KernelCall beside = call;
  beside.prepared = other_prepared;
  const Result<void> shadowed = owner_.shadow_.run(*other.kernel, beside);
  if (!shadowed && shadowed.error().code == ErrorCode::kWorkerLost) return shadowed;
  FIB_CHECK(owner_.taps_.run(*serving.kernel, views_, call));
  if (!shadowed) {
    // Without memory for its outputs nothing is known of it; what served before may refuse shapes.
    const bool tells = shadowed.error().code != ErrorCode::kResourceExhausted && !serves_candidate;
    if (tells) failure = shadowed.error().to_string();
    return {};
  }
  const std::optional<std::string> difference = FIB_TRY(owner_.shadow_.compare(
      signature_, call,
      serves_candidate ? ShadowRun::Trusted::kShadow : ShadowRun::Trusted::kServing));
  if (!difference) {
    ++num_agreed;
    return {};
  }
  const Kernel& candidate = serves_candidate ? *serving.kernel : *other.kernel;
  Error error{ErrorCode::kConflict,
              fmt::format("solution '{}' and the one that served before differ in a live call: {}",
                          candidate.solution(), *difference),
              signature_.name};
  if (serves_candidate) return fail(std::move(error));
  failure = error.to_string();
  return {};
}

SwappableDispatch::SwappableDispatch(std::unique_ptr<Dispatch> first, std::string name,
                                     SwapOptions options)
    : device_(first->device()), options_(options), shadow_(device_) {
  serving_ = std::make_shared<Package>(Package{std::move(name), std::move(first)});
  publish();
}

SwappableDispatch::~SwappableDispatch() = default;

Result<Kernel*> SwappableDispatch::resolve(const SignatureRequest& request) {
  SwappableKernel*& known = by_request_[request.key()];
  if (known == nullptr) {
    Kernel* kernel = FIB_TRY(serving_->dispatch->resolve(request));
    kernels_.push_back(
        std::make_unique<SwappableKernel>(*this, request, Binding{serving_, kernel}));
    known = kernels_.back().get();
    publish();
  }
  return known;
}

Result<void> SwappableDispatch::prefetch(const std::vector<SignatureRequest>& requests,
                                         const Progress& progress) {
  return serving_->dispatch->prefetch(requests, progress);
}

Result<std::unique_ptr<DeviceGraph>> SwappableDispatch::capture(
    const std::function<Result<void>()>& record) {
  is_recording_ = true;
  auto graph = taps_.capture(device_, record);
  is_recording_ = false;
  return graph;
}

std::vector<const Kernel*> SwappableDispatch::kernels() const {
  std::vector<const Kernel*> kernels;
  for (const auto& kernel : kernels_) kernels.push_back(kernel.get());
  return kernels;
}

Result<void> SwappableDispatch::begin_loading(std::string name) {
  const std::lock_guard lock(mutex_);
  if (!loading_.empty()) {
    return fail(ErrorCode::kConflict, fmt::format("'{}' is being loaded", loading_), name,
                "wait until it is, and try again");
  }
  loading_ = std::move(name);
  return {};
}

void SwappableDispatch::propose(Opener open) {
  const std::lock_guard lock(mutex_);
  proposed_ = std::move(open);
}

SwapStatus SwappableDispatch::status() const {
  const std::lock_guard lock(mutex_);
  SwapStatus status = status_;
  if (!loading_.empty()) {
    status.state = SwapState::kLoading;
    status.candidate = loading_;
    status.reason.clear();
  }
  return status;
}

bool SwappableDispatch::tend() {
  if (!retired_.empty()) {
    static_cast<void>(device_.synchronize());  // a lost device frees nothing
    retired_.clear();
  }
  open_proposed();
  if (state_ == SwapState::kWarming) warm_next();
  return state_ == SwapState::kWarming || !retired_.empty();
}

void SwappableDispatch::open_proposed() {
  std::optional<Opener> open;
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    open = std::exchange(proposed_, std::nullopt);
    if (!open) return;
    name = loading_;
  }
  auto dispatch = (*open)();
  is_opened_ = true;
  if (!dispatch && candidate_ != nullptr) {  // another one is under way, and goes on
    reason_ = dispatch.error().to_string();
    return publish();
  }
  if (state_ == SwapState::kWatching) end_watch();
  for (const auto& kernel : kernels_) kernel->drop_other(retired_);
  candidate_ = std::make_shared<Package>(Package{std::move(name), nullptr});
  if (!dispatch) return drop_candidate(dispatch.error().to_string());
  candidate_->dispatch = *std::move(dispatch);
  reason_.clear();
  warm_kernel_ = warm_set_ = 0;
  enter(SwapState::kWarming);
}

// One kernel, or one set of weights.
void SwappableDispatch::warm_next() {
  if (warm_kernel_ == kernels_.size()) {
    if (!has_two_kernels()) {
      return drop_candidate("it has none of the signatures that the model calls");
    }
    return enter(SwapState::kShadowing);
  }
  SwappableKernel& kernel = *kernels_[warm_kernel_];
  if (!kernel.other) {
    const auto resolved = candidate_->dispatch->resolve(kernel.request);
    if (resolved) {
      kernel.other = {candidate_, *resolved};
    } else if (resolved.error().code != ErrorCode::kNotFound &&
               resolved.error().code != ErrorCode::kUnsupported) {
      return drop_candidate(resolved.error().to_string());
    }
  } else if (auto warm = kernel.warm(warm_set_++); !warm) {
    return drop_candidate(
        fmt::format("weights can't be laid out for it: {}", warm.error().to_string()));
  }
  if (kernel.other && warm_set_ < kernel.weights.size()) return;
  warm_set_ = 0;
  ++warm_kernel_;
}

Dispatch::StepManner SwappableDispatch::begin_step() {
  if (state_ == SwapState::kWarming || !has_two_kernels()) return StepManner::kAny;
  settle_failures();
  ++steps_;
  if (state_ == SwapState::kWatching && steps_ > options_.watch_steps) end_watch();
  switch_agreed();
  publish();
  // What is called outside graphs can be compared in any step.
  const bool has_time = !device_.can_capture() || steps_ % options_.eager_interval == 0;
  compares_ = state_ == SwapState::kServing || has_time;
  return compares_ && state_ != SwapState::kServing ? StepManner::kCallByCall : StepManner::kAny;
}

// Of kernels that don't serve yet.
void SwappableDispatch::settle_failures() {
  for (const auto& kernel : kernels_) {
    if (kernel->failure.empty()) continue;
    if (state_ == SwapState::kWatching) return roll_back(kernel->failure);
    if (state_ == SwapState::kShadowing) return drop_candidate(kernel->failure);
    // The rest of its package serves already.
    reason_ = fmt::format("{} stays with '{}': {}", kernel->signature().name,
                          kernel->serving.owner(), kernel->failure);
    kernel->drop_other(retired_);
  }
}

void SwappableDispatch::switch_agreed() {
  const PackagePtr& newest = state_ == SwapState::kServing ? serving_ : candidate_;
  const auto is_due = [&](const auto& kernel) {
    return kernel->other && kernel->other.package == newest && kernel->has_agreed();
  };
  // What is called less often than that isn't waited for: it is exchanged when it has agreed.
  constexpr int64_t kRareSteps = 16;
  const auto is_open = [&](const auto& kernel) {
    return kernel->other && !kernel->has_agreed() && kernel->num_offered * kRareSteps >= steps_;
  };
  if (std::none_of(kernels_.begin(), kernels_.end(), is_due)) return;
  if (state_ == SwapState::kShadowing) {
    if (steps_ <= options_.shadow_steps) return;
    if (std::any_of(kernels_.begin(), kernels_.end(), is_open)) return;
    enter(SwapState::kWatching);
  }
  for (const auto& kernel : kernels_) {
    if (!is_due(kernel)) continue;
    kernel->exchange();
    if (state_ == SwapState::kServing) kernel->drop_other(retired_);
  }
  ++generation_;
}

void SwappableDispatch::end_watch() {
  for (const auto& kernel : kernels_) {
    if (kernel->serves(candidate_)) kernel->drop_other(retired_);
  }
  retired_.push_back({.package = std::exchange(serving_, std::exchange(candidate_, nullptr))});
  ++num_switched_;
  if (!has_two_kernels()) shadow_.release();
  enter(SwapState::kServing);
}

bool SwappableDispatch::take_back(const Error& error) {
  if (state_ != SwapState::kWatching || error.code == ErrorCode::kWorkerLost) return false;
  roll_back(error.to_string());
  return true;
}

void SwappableDispatch::roll_back(std::string why) {
  for (const auto& kernel : kernels_) {
    if (kernel->serves(candidate_)) kernel->exchange();
  }
  ++generation_;
  drop_candidate(std::move(why));
}

void SwappableDispatch::drop_candidate(std::string why) {
  for (const auto& kernel : kernels_) kernel->drop_other(retired_);
  dropped_ = candidate_->name;
  retired_.push_back({.package = std::exchange(candidate_, nullptr)});
  reason_ = std::move(why);
  ++num_rolled_back_;
  shadow_.release();
  enter(SwapState::kRolledBack);
}

bool SwappableDispatch::has_two_kernels() const {
  return std::any_of(kernels_.begin(), kernels_.end(),
                     [](const auto& kernel) { return static_cast<bool>(kernel->other); });
}

void SwappableDispatch::enter(SwapState state) {
  state_ = state;
  steps_ = 0;
  compares_ = false;
  publish();
}

void SwappableDispatch::publish() {
  SwapStatus status{.state = state_,
                    .package = serving_->name,
                    .candidate = candidate_ ? candidate_->name : dropped_,
                    .reason = reason_,
                    .switched = num_switched_,
                    .rolled_back = num_rolled_back_};
  if (state_ == SwapState::kServing) status.candidate.clear();
  for (const auto& kernel : kernels_) {
    const PackagePtr& other = kernel->other.package;
    const bool is_to_come = other != nullptr && (other == candidate_ || other == serving_) &&
                            !kernel->serves(candidate_);
    status.signatures.push_back({.signature = kernel->signature().name,
                                 .package = kernel->serving.owner(),
                                 .candidate = is_to_come ? other->name : std::string(),
                                 .compared = kernel->num_agreed});
  }
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_opened_, false)) loading_.clear();
  status_ = std::move(status);
}

}  // namespace fib
