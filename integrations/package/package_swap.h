#pragma once

// Loads packages while an engine serves, and hands them to the dispatch that it serves with.

#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "integrations/package/package_dispatch.h"
#include "integrations/package/swappable_dispatch.h"

namespace fib {

class PackageSwap {
 public:
  struct Options {
    HouseDispatchOptions house;           // of which signatures are read
    std::filesystem::path unpack_folder;  // for packages that are archives
    std::function<void()> wake;           // has the engine call the dispatch's tend()
  };
  // The dispatch outlives this.
  PackageSwap(SwappableDispatch& dispatch, Options options)
      : dispatch_(dispatch), options_(std::move(options)) {}
  ~PackageSwap();  // waits for what is being loaded

  // From any thread; returns when the package is known to exist. SwappableDispatch::status() tells
  // how it goes on. kNotFound; kConflict: another one is being loaded.
  Result<void> begin(const std::filesystem::path& package);

 private:
  // On the loader's thread: the engine's goes on with its steps meanwhile.
  void load(const std::filesystem::path& package);
  Result<LoadedPackage> read(const std::filesystem::path& package) const;

  SwappableDispatch& dispatch_;
  const Options options_;
  std::mutex mutex_;
  std::thread loader_;
};

}  // namespace fib
