// Signatures served by the house's solutions, built when first asked for.

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "harness/thread_pool.h"
#include "integrations/package/dispatch.h"
#include "integrations/package/house_solutions.h"
#include "integrations/package/kernel_target.h"
#include "integrations/package/signature_request.h"
#include "integrations/package/taps.h"
#include "runners/cpu/host_cpu.h"
#include "signatures/catalog.h"

namespace fib {
namespace {

// A signature with the solution that serves it, compiled.
struct Built {
  SignaturePtr signature;
  std::string solution;
  ArtifactPtr artifact;
};

class HouseDispatch final : public Dispatch {
 public:
  HouseDispatch(ServingDevice& device, Catalog catalog, HouseSolutions solutions,
                std::unique_ptr<KernelTarget> target)
      : device_(device),
        catalog_(std::move(catalog)),
        solutions_(std::move(solutions)),
        target_(std::move(target)) {}

  ServingDevice& device() override { return device_; }

  Result<Kernel*> resolve(const SignatureRequest& request) override {
    const std::string key = request.key();
    if (const auto known = by_request_.find(key); known != by_request_.end()) return known->second;
    return load(key, FIB_TRY(build(request)));
  }

  Result<void> prefetch(const std::vector<SignatureRequest>& requests,
                        const Progress& progress) override;

  void add_tap(CallTap& tap) override { taps_.add(tap); }
  void remove_tap(CallTap& tap) override { taps_.remove(tap); }

  Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) override {
    return taps_.capture(device_, record);
  }
  Result<void> time_calls(const std::function<Result<void>()>& work) override {
    return taps_.time_calls(device_, work);
  }
  Result<void> run_step(const std::function<Result<void>()>& work) override {
    return taps_.run_step(work);
  }
  bool wants_computed() const override { return taps_.wants_computed(); }

  std::vector<const Kernel*> kernels() const override {
    std::vector<const Kernel*> kernels;
    for (const auto& kernel : kernels_) kernels.push_back(kernel.get());
    return kernels;
  }

 private:
  // Thread-safe.
  Result<Built> build(const SignatureRequest& request) const;
  Result<Kernel*> load(const std::string& key, Built built);

  ServingDevice& device_;
  const Catalog catalog_;
  const HouseSolutions solutions_;
  const std::unique_ptr<KernelTarget> target_;
  TapList taps_;
  std::vector<std::unique_ptr<TappedKernel>> kernels_;
  std::map<std::string, Kernel*> by_request_;
};

Result<Built> HouseDispatch::build(const SignatureRequest& request) const {
  Built built{.signature = FIB_TRY(find_signature(catalog_, request))};
  std::string log;
  for (const Solution* solution : FIB_TRY(solutions_.for_signature(*built.signature))) {
    BuildOutcome outcome = FIB_TRY(target_->build(*solution, *built.signature));
    if (outcome.artifact) {
      built.solution = solution->name;
      built.artifact = std::move(outcome.artifact);
      return built;
    }
    log += fmt::format("'{}' doesn't build for {}:\n{}\n", solution->name,
                       device_.info().architecture, outcome.failure_log);
  }
  return fail(ErrorCode::kUnsupported, std::move(log), request.name);
}

Result<Kernel*> HouseDispatch::load(const std::string& key, Built built) {
  auto kernel = FIB_TRY(target_->load(*built.artifact, built.signature, built.solution));
  kernels_.push_back(std::make_unique<TappedKernel>(std::move(kernel), taps_));
  return by_request_[key] = kernels_.back().get();
}

Result<void> HouseDispatch::prefetch(const std::vector<SignatureRequest>& requests,
                                     const Progress& progress) {
  std::map<std::string, const SignatureRequest*> missing;
  for (const SignatureRequest& request : requests) {
    if (const std::string key = request.key(); !by_request_.contains(key)) {
      missing.emplace(key, &request);
    }
  }
  if (missing.empty()) return {};

  // Compiled on other threads, loaded and reported on this one.
  struct Done {
    const std::string* key;
    Result<Built> built;
  };
  std::mutex mutex;
  std::condition_variable ready;
  std::deque<Done> finished;
  const int threads = std::min(host_threads(), static_cast<int>(missing.size()));
  ThreadPool pool(threads);
  for (const auto& [key, request] : missing) {
    pool.submit([&, key = &key, request = request] {
      Result<Built> built = build(*request);
      const std::lock_guard lock(mutex);
      finished.push_back({key, std::move(built)});
      ready.notify_one();
    });
  }
  std::optional<Error> first_error;
  for (size_t done = 1; done <= missing.size(); ++done) {
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return !finished.empty(); });
    Done next = std::move(finished.front());
    finished.pop_front();
    lock.unlock();
    auto loaded = [&]() -> Result<Kernel*> {
      return load(*next.key, FIB_TRY(std::move(next.built)));
    }();
    if (!loaded && !first_error) first_error = std::move(loaded).error();
    if (progress) progress(done, missing.size(), missing.at(*next.key)->name);
  }
  if (first_error) return fail(*std::move(first_error));
  return {};
}

}  // namespace

std::string SignatureRequest::key() const {
  std::string key = name;
  for (const auto& [parameter, value] : parameters) key += fmt::format(" {}={}", parameter, value);
  return key;
}

Result<std::unique_ptr<Dispatch>> open_house_dispatch(ServingDevice& device,
                                                      HouseDispatchOptions options) {
  const std::string& target = device.info().target;
  Catalog catalog = FIB_TRY(Catalog::builtin(options.definitions));
  HouseSolutions solutions = FIB_TRY(HouseSolutions::read(options.solutions, target));
  auto kernels = FIB_TRY(target == "cpu" ? open_cpu_kernels(device, options)
                                         : open_cuda_kernels(device, options));
  return std::make_unique<HouseDispatch>(device, std::move(catalog), std::move(solutions),
                                         std::move(kernels));
}

}  // namespace fib
