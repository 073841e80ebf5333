#include "integrations/package/export/default_package.h"

#include <fmt/format.h>

#include <algorithm>

#include "integrations/package/export/house_spec.h"
#include "runners/cpu/host_identity.h"
#include "runners/worker/toolchain.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNameDigits = 24;

Result<void> add_file(Hasher& hasher, const fs::path& file) {
  hasher.add(file.filename().string()).add(FIB_TRY(read_file(file)));
  return {};
}

Result<void> add_headers(Hasher& hasher, const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(folder, failed);
       !failed && it != fs::recursive_directory_iterator(); it.increment(failed)) {
    if (it->is_regular_file(failed)) files.push_back(it->path());
  }
  if (failed) return fail(ErrorCode::kIo, failed.message(), folder.string());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) FIB_CHECK(add_file(hasher, file));
  return {};
}

// What compiles for the target, and for what.
Result<void> add_compilers(Hasher& hasher, const PackageTarget& target,
                           const PackageBuildOptions& build) {
  hasher.add(target.target).add(target.architecture);
  hasher.add(FIB_TRY(find_host_compiler()).version);
  if (target.target == "cpu") {
    const HostProcessor processor = host_processor();
    hasher.add(processor.model).add(processor.flags);
    return {};
  }
  const fs::path nvrtc = FIB_TRY(find_cuda_library(build.cuda, CudaLibrary::kNvrtc));
  std::error_code unknown;  // a bare name that only the loader finds
  hasher.add(nvrtc.string()).add(static_cast<uint64_t>(fs::file_size(nvrtc, unknown)));
  return {};
}

Result<std::string> key_of(const PackageSpec& spec, const PackageTarget& target,
                           const PackageBuildOptions& build) {
  Hasher hasher;
  FIB_CHECK(add_compilers(hasher, target, build));
  std::vector<std::string> signatures;
  for (const PackagedSignature& packaged : spec.signatures) {
    Hasher one;
    one.add(dump_json(signature_to_json(*packaged.signature)));
    for (const auto& [name, value] : packaged.signature->fib.parameters) {
      one.add(name).add(fmt::format("{}", value));
    }
    for (const Solution& solution : packaged.solutions) one.add(solution_key(solution));
    signatures.push_back(one.hex());
  }
  std::sort(signatures.begin(), signatures.end());
  for (const std::string& signature : signatures) hasher.add(signature);
  FIB_CHECK(add_headers(hasher, build.abi));
  FIB_CHECK(add_file(hasher, build.c_header));
  FIB_CHECK(add_file(hasher, build.runtime_archive));
  hasher.add(build.fib_version);
  return hasher.hex().substr(0, kNameDigits);
}

}  // namespace

PackageTarget package_target(const ServingDeviceInfo& device) {
  return {.target = device.target,
          .architecture = device.target == "cpu" ? "native" : device.architecture};
}

Result<PackageLibraryPtr> open_default_package(const PackageTarget& target,
                                               const std::vector<SignatureRequest>& requests,
                                               const DefaultPackageOptions& options,
                                               const PackageProgress& progress) {
  const Catalog catalog = FIB_TRY(Catalog::builtin(options.definitions));
  const HouseSolutions house = FIB_TRY(HouseSolutions::read(options.solutions, target.target));
  PackageSpec spec = FIB_TRY(house_package_spec(requests, catalog, house));
  spec.version = options.build.fib_version;
  auto& architectures = target.target == "cpu" ? spec.cpu_levels : spec.cuda_architectures;
  architectures = {target.architecture};
  const std::string key = FIB_TRY(key_of(spec, target, options.build));

  std::vector<fs::path> folders = options.shipped;
  folders.push_back(options.folder);
  for (const fs::path& folder : folders) {
    std::error_code missing;
    if (!fs::is_directory(folder / key, missing)) continue;
    if (auto library = PackageLibrary::open(folder / key, options.build.cache_folder)) {
      return library;
    }
  }
  FIB_TRY(build_package(spec, options.build, options.folder / key, progress));
  return PackageLibrary::open(options.folder / key, options.build.cache_folder);
}

}  // namespace fib
