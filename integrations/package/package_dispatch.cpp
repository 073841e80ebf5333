#include "integrations/package/package_dispatch.h"

#include <fmt/format.h>

#include <set>

#include "integrations/package/package_kernel.h"
#include "integrations/package/signature_request.h"
#include "integrations/package/taps.h"

namespace fib {
namespace {

// The house's kernel.
class BorrowedKernel final : public Kernel {
 public:
  explicit BorrowedKernel(Kernel& kernel) : kernel_(kernel) {}
  const Signature& signature() const override { return kernel_.signature(); }
  std::string_view solution() const override { return kernel_.solution(); }
  std::string_view lender() const override { return "house"; }
  Result<void> run(const KernelCall& call) override { return kernel_.run(call); }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override {
    return kernel_.prepare(inputs);
  }

 private:
  Kernel& kernel_;
};

class PackageDispatch final : public Dispatch {
 public:
  PackageDispatch(ServingDevice& device, std::shared_ptr<const OpenPackage> package,
                  Catalog catalog, PackageDispatchOptions options)
      : device_(device),
        workspace_(device),
        package_(std::move(package)),
        catalog_(std::move(catalog)),
        options_(std::move(options)) {}

  ServingDevice& device() override { return device_; }
  Result<Kernel*> resolve(const SignatureRequest& request) override;
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
  Result<std::unique_ptr<Kernel>> open_own(const SignatureRequest& request);
  Result<Dispatch*> house();
  // Whether the house is to serve what the package doesn't, for this reason.
  bool is_for_house(const Error& error) const;

  ServingDevice& device_;
  TapList taps_;
  Workspace workspace_;
  const std::shared_ptr<const OpenPackage> package_;
  const Catalog catalog_;
  const PackageDispatchOptions options_;
  std::unique_ptr<Dispatch> house_;  // opened when it is needed
  std::vector<std::unique_ptr<TappedKernel>> kernels_;
  std::map<std::string, Kernel*> by_request_;
};

Result<std::unique_ptr<Kernel>> PackageDispatch::open_own(const SignatureRequest& request) {
  return PackageKernel::open(package_, device_, workspace_,
                             FIB_TRY(find_signature(catalog_, request)), request);
}

Result<Dispatch*> PackageDispatch::house() {
  if (!house_) house_ = FIB_TRY(open_house_dispatch(device_, options_.house));
  return house_.get();
}

bool PackageDispatch::is_for_house(const Error& error) const {
  return options_.missing == PackageDispatchOptions::Missing::kFromHouse &&
         (error.code == ErrorCode::kNotFound || error.code == ErrorCode::kUnsupported ||
          error.code == ErrorCode::kConflict);
}

Result<Kernel*> PackageDispatch::resolve(const SignatureRequest& request) {
  const std::string key = request.key();
  if (const auto known = by_request_.find(key); known != by_request_.end()) return known->second;
  auto kernel = open_own(request);
  if (!kernel && is_for_house(kernel.error())) {
    Kernel* theirs = FIB_TRY(FIB_TRY(house())->resolve(request));
    if (options_.note) {
      options_.note(fmt::format("{}; the house's '{}' serves it", kernel.error().to_string(),
                                theirs->solution()));
    }
    kernel = std::make_unique<BorrowedKernel>(*theirs);
  }
  kernels_.push_back(std::make_unique<TappedKernel>(FIB_TRY(std::move(kernel)), taps_));
  return by_request_[key] = kernels_.back().get();
}

Result<void> PackageDispatch::prefetch(const std::vector<SignatureRequest>& requests,
                                       const Progress& progress) {
  std::vector<SignatureRequest> missing;
  for (const SignatureRequest& request : requests) {
    if (by_request_.contains(request.key())) continue;
    const auto own = open_own(request);
    if (!own && is_for_house(own.error())) missing.push_back(request);
  }
  if (missing.empty()) return {};
  return FIB_TRY(house())->prefetch(missing, progress);
}

}  // namespace

Result<LoadedPackage> load_package(ServingDevice& device, PackageLibraryPtr package,
                                   const std::filesystem::path& definitions) {
  Catalog catalog = FIB_TRY(Catalog::builtin(definitions));
  auto seat =
      device.info().target == "cpu" ? make_cpu_seat(device) : FIB_TRY(make_cuda_seat(device));
  auto open = std::make_shared<OpenPackage>(package, std::move(seat));
  const fib_kernels_device_options place = open->seat->options();
  // Not OpenPackage::check(): to ask what became of the device is for the device's thread.
  FIB_CHECK(package->check(package->api().open(&place, &open->device), package->path().string()));
  return LoadedPackage{std::move(catalog), std::move(open)};
}

std::unique_ptr<Dispatch> make_package_dispatch(ServingDevice& device, LoadedPackage package,
                                                PackageDispatchOptions options) {
  return std::make_unique<PackageDispatch>(device, std::move(package.open),
                                           std::move(package.catalog), std::move(options));
}

Result<std::unique_ptr<Dispatch>> open_package_dispatch(ServingDevice& device,
                                                        PackageLibraryPtr package,
                                                        PackageDispatchOptions options) {
  if (device.info().target != "cpu") FIB_CHECK(prepare_card(device, options.house));
  LoadedPackage loaded =
      FIB_TRY(load_package(device, std::move(package), options.house.definitions));
  return make_package_dispatch(device, std::move(loaded), std::move(options));
}

}  // namespace fib
