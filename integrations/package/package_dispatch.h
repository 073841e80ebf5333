#pragma once

// Signatures served by a kernel package, through its C interface.

#include <functional>
#include <string_view>

#include "integrations/package/dispatch.h"
#include "integrations/package/package_library.h"

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

// Errors: the package has nothing that runs on the device, or definitions that can't be read.
Result<std::unique_ptr<Dispatch>> open_package_dispatch(ServingDevice& device,
                                                        PackageLibraryPtr package,
                                                        PackageDispatchOptions options);

}  // namespace fib
