#pragma once

// Which kernels a model is served by: --kernels.

#include <functional>
#include <memory>
#include <string>

#include "integrations/cli/context.h"
#include "integrations/package/export/default_package.h"
#include "integrations/package/swappable_dispatch.h"

namespace fib {

HouseDispatchOptions house_dispatch_options(const Context& context);

// What open_default_package() needs of this installation. kEnvironment: a part of it is missing.
Result<DefaultPackageOptions> default_package_options(const Context& context);

// Where archives of packages are unpacked.
std::filesystem::path unpack_folder(const Context& context);

struct ServingKernels {
  std::unique_ptr<SwappableDispatch> dispatch;
  PackageLibraryPtr package;  // null: the house's solutions
};

struct KernelRequest {
  std::string kernels;  // "", "house", or a package's path
  std::vector<SignatureRequest> signatures;
  std::function<void(const std::string& activity)> progress;
};

// "": the default package, or the house's solutions one by one where it can't be built; the reason
// goes to the context's error stream, as does what a package lacks.
Result<ServingKernels> open_serving_kernels(const Context& context, ServingDevice& device,
                                            const KernelRequest& request);

}  // namespace fib
