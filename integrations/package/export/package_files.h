#pragma once

// The files of a package around its shared object, and how they get into place.

#include <filesystem>

#include "integrations/package/export/manifest.h"

namespace fib {

// A folder beside the package's own, in which it is put together; gone if it doesn't get into
// place.
class PackageStaging {
 public:
  // kInvalidInput if `folder` holds something else than a package.
  static Result<PackageStaging> open(const std::filesystem::path& folder);
  PackageStaging(PackageStaging&& other) noexcept;
  PackageStaging& operator=(PackageStaging&&) = delete;
  ~PackageStaging();

  const std::filesystem::path& path() const { return staging_; }
  const std::filesystem::path& target() const { return target_; }

  // Writes SHA256SUMS, writes all of it through to the disk, and takes the package's place: whoever
  // opens it sees the old one or the new one.
  Result<void> commit();

 private:
  PackageStaging(std::filesystem::path target, std::filesystem::path staging)
      : target_(std::move(target)), staging_(std::move(staging)) {}
  std::filesystem::path target_, staging_;
};

// CMake's and pkg-config's files, which find the package wherever it was moved.
Result<void> write_build_files(const PackageSpec& spec, const std::filesystem::path& package);

struct SharedFiles {
  std::string manifest;
  std::vector<SolutionFolder> folders;
  std::filesystem::path c_header;
  std::filesystem::path license;  // Apache-2.0's text: the run-time library's licence
};

// Header, manifest, sources and licences.
Result<void> write_shared_files(const PackageSpec& spec, const SharedFiles& files,
                                const std::filesystem::path& package);

}  // namespace fib
