#pragma once

// Signatures served by a kernel package, through its C interface.

#include <functional>
#include <string_view>

#include "integrations/package/dispatch.h"
#include "integrations/package/package_library.h"
#include "signatures/catalog.h"

namespace fib {

struct PackageDispatchOptions {
  HouseDispatchOptions house;  // definitions; the rest for signatures that the package lacks
  enum class Missing {
    kFromHouse,  // a signature that the package lacks is served by the house's solutions
    kIsError,    // kNotFound
  } missing = Missing::kFromHouse;
  // Told once of each signature that the house serves, and why. May be empty.
  std::function<void(std::string_view)> note;
};

struct OpenPackage;

// A package whose kernels are on a device already: what can be done beside the device's thread.
struct LoadedPackage {
  Catalog catalog;
  std::shared_ptr<const OpenPackage> open;
};

// From any thread, while the device works: the package makes the device's context current by
// itself. Errors: as of open_package_dispatch().
Result<LoadedPackage> load_package(ServingDevice& device, PackageLibraryPtr package,
                                   const std::filesystem::path& definitions);

// On the device's thread; reads, loads and compiles nothing.
std::unique_ptr<Dispatch> make_package_dispatch(ServingDevice& device, LoadedPackage package,
                                                PackageDispatchOptions options);

// Both, on the device's thread, which also gives a card its kernels for random weights. Errors: the
// package has nothing that runs on the device, or definitions that can't be read.
Result<std::unique_ptr<Dispatch>> open_package_dispatch(ServingDevice& device,
                                                        PackageLibraryPtr package,
                                                        PackageDispatchOptions options);

}  // namespace fib
