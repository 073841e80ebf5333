#include "integrations/package/package_swap.h"

namespace fib {

namespace fs = std::filesystem;

PackageSwap::~PackageSwap() {
  if (loader_.joinable()) loader_.join();
}

Result<void> PackageSwap::begin(const fs::path& package) {
  std::error_code failed;
  const fs::path whole = fs::weakly_canonical(package, failed);
  if (failed || !fs::exists(whole, failed)) {
    return fail(ErrorCode::kNotFound, "there is no such package", package.string(),
                "name a folder, a .tar.zst or a .so on the server's machine");
  }
  const std::lock_guard lock(mutex_);
  FIB_CHECK(dispatch_.begin_loading(whole.string()));
  if (loader_.joinable())
    loader_.join();  // its package was taken over, so it has ended or is about to
  loader_ = std::thread([this, whole] { load(whole); });
  return {};
}

Result<LoadedPackage> PackageSwap::read(const fs::path& package) const {
  return load_package(dispatch_.device(),
                      FIB_TRY(PackageLibrary::open(package, options_.unpack_folder)),
                      options_.house.definitions);
}

void PackageSwap::load(const fs::path& package) {
  // Shared, because an opener is copied: it is a std::function.
  const auto loaded = std::make_shared<Result<LoadedPackage>>(read(package));
  dispatch_.propose([loaded, house = options_.house,
                     &device = dispatch_.device()]() -> Result<std::unique_ptr<Dispatch>> {
    return make_package_dispatch(
        device, FIB_TRY(std::move(*loaded)),
        {.house = house, .missing = PackageDispatchOptions::Missing::kIsError, .note = {}});
  });
  options_.wake();
}

}  // namespace fib
