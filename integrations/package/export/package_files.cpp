#include "integrations/package/export/package_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "integrations/package/include/fib_kernels.h"
#include "runners/worker/file_descriptor.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "signatures/solution_folder.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSums = "SHA256SUMS";
constexpr const char* kManifest = "share/fib_kernels/manifest.json";

// find_package's version is that of the C interface: what programs are compiled against.
constexpr const char* kCMakeConfig = R"(# {name} {version}, a kernel package made by fib.
get_filename_component(_fib_kernels_prefix "${{CMAKE_CURRENT_LIST_DIR}}/../../.." ABSOLUTE)
set(fib_kernels_PACKAGE_NAME "{name}")
set(fib_kernels_PACKAGE_VERSION "{version}")
set(fib_kernels_MANIFEST "${{_fib_kernels_prefix}}/share/fib_kernels/manifest.json")
if(NOT TARGET fib_kernels::fib_kernels)
  add_library(fib_kernels::fib_kernels SHARED IMPORTED)
  set_target_properties(fib_kernels::fib_kernels PROPERTIES
    IMPORTED_LOCATION "${{_fib_kernels_prefix}}/lib/libfib_kernels.so"
    IMPORTED_SONAME "libfib_kernels.so"
    INTERFACE_INCLUDE_DIRECTORIES "${{_fib_kernels_prefix}}/include")
endif()
unset(_fib_kernels_prefix)
)";

constexpr const char* kCMakeVersion =
    R"(# The version of the C interface: another major one is another interface.
set(PACKAGE_VERSION "{major}.{minor}")
set(PACKAGE_VERSION_EXACT FALSE)
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION_MAJOR EQUAL {major} AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(NOT CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(PACKAGE_VERSION_UNSUITABLE TRUE)
endif()
)";

constexpr const char* kPkgConfig = R"(prefix=${{pcfiledir}}/../..
libdir=${{prefix}}/lib
includedir=${{prefix}}/include
manifest=${{prefix}}/share/fib_kernels/manifest.json

Name: {name}
Description: Kernels for language models, package version {version}
Version: {major}.{minor}
Libs: -L${{libdir}} -lfib_kernels
Cflags: -I${{includedir}}
)";

Failure io_error(const std::string& what, const fs::path& path, int error = errno) {
  return fail(ErrorCode::kIo, fmt::format("{}: {}", what, ::strerror(error)), path.string());
}

Result<void> write_file(const fs::path& file, std::string_view content) {
  std::error_code failed;
  fs::create_directories(file.parent_path(), failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), file.parent_path().string());
  return write_file_atomically(file, content);
}

// What may be replaced: nothing, an empty folder, a package.
Result<void> check_target(const fs::path& target) {
  std::error_code failed;
  if (!fs::exists(fs::symlink_status(target, failed))) return {};
  const bool is_empty = fs::is_directory(target, failed) && fs::is_empty(target, failed);
  if (is_empty || (fs::exists(target / kSums, failed) && fs::exists(target / kManifest, failed))) {
    return {};
  }
  return fail(ErrorCode::kInvalidInput, "is there already and is no kernel package",
              target.string(), "name a new folder, or remove this one");
}

Result<void> sync(const fs::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return io_error("can't be written through", path);
  return {};
}

}  // namespace

Result<PackageStaging> PackageStaging::open(const fs::path& folder) {
  std::error_code failed;
  // Of a path none of which exists yet weakly_canonical() alone makes nothing absolute.
  fs::path target = fs::weakly_canonical(fs::absolute(folder, failed), failed);
  if (!target.has_filename()) target = target.parent_path();  // it ended with a slash
  if (failed || !target.has_filename()) {
    return fail(ErrorCode::kInvalidInput, "is no name of a folder", folder.string());
  }
  FIB_CHECK(check_target(target));
  fs::create_directories(target.parent_path(), failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), target.parent_path().string());
  std::string name =
      (target.parent_path() / fmt::format(".{}.new-XXXXXX", target.filename().string())).string();
  if (::mkdtemp(name.data()) == nullptr) {
    return io_error("no folder can be made here", target.parent_path());
  }
  PackageStaging staging(std::move(target), name);
  fs::permissions(staging.path(), fs::perms(0755), failed);  // mkdtemp's are its owner's only
  if (failed) return fail(ErrorCode::kIo, failed.message(), name);
  return staging;
}

PackageStaging::PackageStaging(PackageStaging&& other) noexcept
    : target_(std::move(other.target_)), staging_(std::exchange(other.staging_, {})) {}

PackageStaging::~PackageStaging() {
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

Result<void> PackageStaging::commit() {
  std::vector<fs::path> files, folders = {staging_};
  std::error_code failed;
  for (fs::recursive_directory_iterator it(staging_, failed), end; !failed && it != end;
       it.increment(failed)) {
    (it->is_directory() ? folders : files).push_back(it->path());
  }
  if (failed) return fail(ErrorCode::kIo, failed.message(), staging_.string());
  std::sort(files.begin(), files.end());
  std::string sums;  // as sha256sum writes and checks them
  for (const fs::path& file : files) {
    FIB_CHECK(sync(file));
    sums += fmt::format("{}  {}\n", sha256_hex(FIB_TRY(read_file(file))),
                        file.lexically_relative(staging_).string());
  }
  FIB_CHECK(write_file_atomically(staging_ / kSums, sums));
  for (const fs::path& folder : folders) FIB_CHECK(sync(folder));

  FIB_CHECK(check_target(target_));  // it may have changed in the meantime
  if (::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) == 0) {
    staging_.clear();
  } else if (errno != EEXIST || ::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, target_.c_str(),
                                            RENAME_EXCHANGE) != 0) {
    return io_error("the package can't take its place", target_);
  }
  return sync(target_.parent_path());  // the old package, if any, goes with this object
}

Result<void> write_build_files(const PackageSpec& spec, const fs::path& package) {
  const auto fill = [&](const char* text) {
    return fmt::format(fmt::runtime(text), fmt::arg("name", spec.name),
                       fmt::arg("version", spec.version), fmt::arg("major", FIB_KERNELS_ABI_MAJOR),
                       fmt::arg("minor", FIB_KERNELS_ABI_MINOR));
  };
  const fs::path cmake = package / "lib/cmake/fib_kernels";
  FIB_CHECK(write_file(cmake / "fib_kernels-config.cmake", fill(kCMakeConfig)));
  FIB_CHECK(write_file(cmake / "fib_kernels-config-version.cmake", fill(kCMakeVersion)));
  return write_file(package / "lib/pkgconfig/fib_kernels.pc", fill(kPkgConfig));
}

Result<void> write_shared_files(const PackageSpec& spec, const SharedFiles& files,
                                const fs::path& package) {
  const std::string header = FIB_TRY(read_file(files.c_header));
  FIB_CHECK(write_file(package / "include/fib_kernels.h", header));
  FIB_CHECK(write_file(package / kManifest, files.manifest));
  const fs::path shared = package / "share/fib_kernels";
  const std::string license = FIB_TRY(read_file(files.license));
  FIB_CHECK(write_file(shared / "LICENSE", license));
  FIB_CHECK(write_file(shared / "LICENSES", license_notes(spec, files.folders)));
  for (const SolutionFolder& folder : files.folders) {
    FIB_CHECK(write_solution_folder(*folder.solution, shared / folder.name));
  }
  return {};
}

}  // namespace fib
