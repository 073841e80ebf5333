#include "integrations/package/export/build_package.h"

#include <algorithm>
#include <set>

#include "integrations/package/export/check_spec.h"
#include "integrations/package/export/compile_package.h"
#include "integrations/package/export/guide.h"
#include "integrations/package/export/link.h"
#include "integrations/package/export/manifest.h"
#include "integrations/package/export/package_files.h"
#include "integrations/package/export/package_version.h"
#include "integrations/package/export/symbol_names.h"
#include "integrations/package/export/table_source.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

Result<void> make_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), folder.string());
  return {};
}

// Sorted, so that they are linked in the same order each time; signatures may share objects.
std::vector<fs::path> objects_of(const CompiledPackage& package) {
  std::vector<fs::path> objects;
  for (const auto& solutions : package.solutions) {
    for (const CompiledSolution& solution : solutions) {
      if (solution.plan) objects.push_back(solution.plan->file);
      for (const CpuObject& object : solution.cpu) objects.push_back(object.file);
    }
  }
  std::sort(objects.begin(), objects.end());
  objects.erase(std::unique(objects.begin(), objects.end()), objects.end());
  return objects;
}

Result<void> add_headers(const fs::path& abi, std::vector<SolutionFolder>& folders) {
  for (SolutionFolder& folder : folders) {
    const std::set<std::string> included = FIB_TRY(included_headers(*folder.solution, abi));
    const HeaderDigests all = FIB_TRY(header_digests(abi, solution_target(*folder.solution)));
    for (const std::string& name : included) {
      const auto found = all.find(name);
      if (found != all.end()) folder.headers.insert(*found);
    }
  }
  return {};
}

// Returns its size.
Result<uint64_t> make_shared_object(const TableSource& source, const CompiledPackage& package,
                                    const Toolchain& toolchain, const PackageBuildOptions& options,
                                    const fs::path& staging) {
  const fs::path work = staging / "link", library = staging / "lib/libfib_kernels.so";
  FIB_CHECK(make_folder(work));
  FIB_CHECK(make_folder(library.parent_path()));
  const fs::path linked =
      FIB_TRY(link_package({.toolchain = toolchain,
                            .source = source,
                            .objects = objects_of(package),
                            .table_header = fs::absolute(options.table_header),
                            .runtime_archive = fs::absolute(options.runtime_archive),
                            .folder = work}));
  std::error_code failed;
  fs::rename(linked, library, failed);
  if (!failed) fs::remove_all(work, failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), library.string());
  return fs::file_size(library);
}

}  // namespace

Result<BuiltPackage> build_package(const PackageSpec& spec, const PackageBuildOptions& options,
                                   const fs::path& folder, const PackageProgress& progress) {
  FIB_CHECK(check_package_spec(spec));
  PackageStaging staging = FIB_TRY(PackageStaging::open(folder));
  const SolutionObjects objects = FIB_TRY(SolutionObjects::open(options.abi, options.cache_folder));
  CompiledPackage package = FIB_TRY(compile_package(spec, objects, options, progress));

  const std::vector<std::string> tvm_ffi = tvm_ffi_names(package.spec);
  std::vector<SolutionFolder> sources = solution_folders(package.spec);
  FIB_CHECK(add_headers(options.abi, sources));
  const auto manifest = [&] {
    return dump_json_pretty(package_manifest(package, sources, tvm_ffi, options.fib_version)) +
           "\n";
  };
  std::string& version = package.spec.version;
  if (version.empty()) version = FIB_TRY(package_version(package, manifest(), options));
  BuiltPackage built{.folder = staging.target(),
                     .version = version,
                     .manifest = manifest(),
                     .notes = package.notes};
  built.bytes = FIB_TRY(make_shared_object(table_source(package, tvm_ffi, built.manifest), package,
                                           objects.toolchain(), options, staging.path()));
  FIB_CHECK(write_build_files(package.spec, staging.path()));
  FIB_CHECK(write_guide(package.spec, options.table_header / "tests/consumers/c/consumer.c",
                        staging.path()));
  FIB_CHECK(write_shared_files(package.spec,
                               {.manifest = built.manifest,
                                .folders = sources,
                                .c_header = options.c_header,
                                .license = options.table_header / "LICENSE"},
                               staging.path()));
  FIB_CHECK(staging.commit());
  return built;
}

}  // namespace fib
