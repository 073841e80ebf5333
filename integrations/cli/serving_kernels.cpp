#include "integrations/cli/serving_kernels.h"

#include <fmt/format.h>

#include <ostream>

#include "integrations/cli/package_options.h"
#include "integrations/package/package_dispatch.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHouse = "house";
constexpr const char* kPackagesFolder = "default-packages";  // in the cache
constexpr const char* kUnpackFolder = "unpacked-packages";   // in the cache
constexpr const char* kShippedFolder = "packages";           // beside the binary, and in its home

Result<PackageLibraryPtr> open_default(const Context& context, const ServingDevice& device,
                                       const KernelRequest& request) {
  return open_default_package(
      package_target(device.info()), request.signatures, FIB_TRY(default_package_options(context)),
      [&](size_t done, size_t total, std::string_view) {
        request.progress(fmt::format("building kernels, {} of {}", done, total));
      });
}

}  // namespace

HouseDispatchOptions house_dispatch_options(const Context& context) {
  return {.definitions = context.home.definitions(),
          .solutions = context.home.solutions(),
          .abi = context.home.abi(),
          .device_sources = context.home.device_sources(),
          .cache_folder = context.cache_folder / kBuildsFolder,
          .worker_executable = context.executable,
          .cuda = context.cuda_search};
}

Result<DefaultPackageOptions> default_package_options(const Context& context) {
  return DefaultPackageOptions{.definitions = context.home.definitions(),
                               .solutions = context.home.solutions(),
                               .folder = context.cache_folder / kPackagesFolder,
                               .shipped = {context.executable.parent_path() / kShippedFolder,
                                           context.home.root / kShippedFolder},
                               .build = FIB_TRY(package_build_options(context))};
}

fs::path unpack_folder(const Context& context) { return context.cache_folder / kUnpackFolder; }

Result<ServingKernels> open_serving_kernels(const Context& context, ServingDevice& device,
                                            const KernelRequest& request) {
  ServingKernels kernels;
  std::string name = kHouse;
  if (request.kernels.empty()) {
    if (auto package = open_default(context, device, request)) {
      kernels.package = *std::move(package);
    } else {
      context.err << fmt::format("no package of kernels could be built: {}\n",
                                 package.error().to_string());
    }
  } else if (request.kernels != kHouse) {
    kernels.package = FIB_TRY(PackageLibrary::open(request.kernels, unpack_folder(context)));
  }
  std::unique_ptr<Dispatch> dispatch;
  if (kernels.package != nullptr) {
    name = kernels.package->path().string();
    dispatch = FIB_TRY(open_package_dispatch(
        device, kernels.package,
        {.house = house_dispatch_options(context),
         .note = [&err = context.err](std::string_view note) { err << note << "\n"; }}));
  } else {
    dispatch = FIB_TRY(open_house_dispatch(device, house_dispatch_options(context)));
  }
  kernels.dispatch =
      std::make_unique<SwappableDispatch>(std::move(dispatch), std::move(name), SwapOptions{});
  return kernels;
}

}  // namespace fib
