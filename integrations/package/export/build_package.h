#pragma once

// Builds a package: a folder that engines load, with nothing of fib needed at run time.
//
//   lib/libfib_kernels.so           kernels, plans, dispatch table, run-time library, manifest
//   include/fib_kernels.h           the C interface
//   lib/cmake/fib_kernels/          find_package(fib_kernels) -> fib_kernels::fib_kernels
//   lib/pkgconfig/fib_kernels.pc
//   share/fib_kernels/manifest.json what is in it, why, and under which licences
//   share/fib_kernels/solutions/    sources of the solutions
//   SHA256SUMS                      of every other file; checked by open_package()
//
// docs/package.md describes the format.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "integrations/package/export/package_spec.h"
#include "runners/cuda/libraries.h"

namespace fib {

struct PackageBuildOptions {
  std::filesystem::path abi;                // harness/abi
  std::filesystem::path c_header;           // integrations/package/include/fib_kernels.h
  std::filesystem::path table_header;       // integrations/package/runtime/package_table.h's root:
                                            // the folder that "integrations/..." is below, with
                                            // fib's LICENSE
  std::filesystem::path runtime_archive;    // libfib_kernels_runtime.a
  std::filesystem::path device_sources;     // runners/cuda/device
  std::filesystem::path cache_folder;       // objects of solutions are kept here
  std::filesystem::path worker_executable;  // the fib binary, for NVRTC
  CudaSearch cuda;
  int threads = 1;          // compilers at once
  std::string fib_version;  // of the fib that builds it, for the manifest
};

struct BuiltPackage {
  std::filesystem::path folder;
  std::string version;
  std::string manifest;
  uint64_t bytes = 0;  // of the shared object
  // A solution that doesn't build for an architecture or level is left out there, if another one
  // serves the same calls; each with the first lines of the compiler's message.
  std::vector<std::string> notes;
};

using PackageProgress = std::function<void(size_t done, size_t total, std::string_view what)>;

// Into `folder`, which is made, or replaced if it is a package; all of it or nothing. Errors: a
// fallback that doesn't build, no host compiler, NVRTC missing where architectures are asked for, a
// folder that is something else.
Result<BuiltPackage> build_package(const PackageSpec& spec, const PackageBuildOptions& options,
                                   const std::filesystem::path& folder,
                                   const PackageProgress& progress);

// `folder` as a .tar.zst with one top-level folder.
Result<void> archive_package(const std::filesystem::path& folder,
                             const std::filesystem::path& archive);

}  // namespace fib
