#pragma once

// A kernel package in this process: checked against its SHA256SUMS, opened apart from every other
// one, reached through its C interface.

#include <filesystem>
#include <memory>
#include <string>

#include "integrations/package/include/fib_kernels.h"
#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

class PackageLibrary {
 public:
  // A package's folder, its .tar.zst (unpacked into `cache_folder`), or its shared object alone
  // (then nothing but the object itself can be checked). Errors say which file is missing, short or
  // changed, or that the package's interface is of another major version, with the remedy.
  static Result<std::shared_ptr<const PackageLibrary>> open(
      const std::filesystem::path& package, const std::filesystem::path& cache_folder);
  ~PackageLibrary();
  PackageLibrary(const PackageLibrary&) = delete;
  PackageLibrary& operator=(const PackageLibrary&) = delete;

  const fib_kernels_api& api() const { return *api_; }
  const Json& manifest() const { return manifest_; }
  const std::filesystem::path& path() const { return path_; }
  const std::string& digest() const { return digest_; }  // of the shared object, SHA-256

  // The status as an Error with the package's message; FIB_KERNELS_OK is an empty Result.
  Result<void> check(fib_kernels_status status, std::string_view where) const;

 private:
  PackageLibrary() = default;
  std::filesystem::path path_;
  std::string digest_;
  Json manifest_;
  void* handle_ = nullptr;
  const fib_kernels_api* api_ = nullptr;
};
using PackageLibraryPtr = std::shared_ptr<const PackageLibrary>;

}  // namespace fib
