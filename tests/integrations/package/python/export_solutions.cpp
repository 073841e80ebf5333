// Exports a package of all solutions below a folder, for tests that load it from Python:
//
//   export_solutions SOLUTIONS cpu|cuda FOLDER CACHE SIGNATURE[:PARAMETER=VALUE]...
//
// For this processor, or for Hopper cards.

#include <fmt/format.h>

#include <iostream>
#include <span>
#include <string>
#include <thread>

#include "integrations/package/export/build_package.h"
#include "integrations/package/export/house_spec.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

SignatureRequest request_of(const std::string& text) {
  const size_t colon = text.find(':');
  SignatureRequest request{.name = text.substr(0, colon)};
  if (colon != std::string::npos) {
    const size_t equals = text.find('=', colon);
    request.parameters[text.substr(colon + 1, equals - colon - 1)] =
        std::stod(text.substr(equals + 1));
  }
  return request;
}

Result<void> export_solutions(const fs::path& solutions, const std::string& target,
                              const fs::path& folder, const fs::path& cache,
                              std::span<char*> signatures) {
  const fs::path source = FIB_SOURCE_DIR;
  const Catalog catalog = FIB_TRY(Catalog::builtin(source / "signatures/definitions"));
  const auto house = FIB_TRY(HouseSolutions::read(solutions, target));
  std::vector<SignatureRequest> requests;
  for (const char* signature : signatures) requests.push_back(request_of(signature));
  PackageSpec spec = FIB_TRY(house_package_spec(requests, catalog, house));
  spec.version = "2026.1.2";
  (target == "cuda" ? spec.cuda_architectures : spec.cpu_levels) = {target == "cuda" ? "sm_90a"
                                                                                     : "native"};
  const PackageBuildOptions options{
      .abi = source / "harness/abi",
      .c_header = source / "integrations/package/include/fib_kernels.h",
      .table_header = source,
      .runtime_archive = FIB_KERNELS_RUNTIME,
      .device_sources = source / "runners/cuda/device",
      .cache_folder = cache,
      .worker_executable = FIB_TEST_WORKER,
      .cuda = {.cache_folder = cache},
      .threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency())),
      .fib_version = "of a test"};
  const BuiltPackage built = FIB_TRY(build_package(spec, options, folder, nullptr));
  for (const std::string& note : built.notes) std::cerr << note << '\n';
  return {};
}

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  if (argc < 6) {
    std::cerr << "usage: export_solutions SOLUTIONS cpu|cuda FOLDER CACHE "
                 "SIGNATURE[:PARAMETER=VALUE]...\n";
    return 2;
  }
  const auto done = fib::export_solutions(argv[1], argv[2], argv[3], argv[4],
                                          std::span(argv + 5, static_cast<size_t>(argc - 5)));
  if (!done) std::cerr << done.error().to_string() << '\n';
  return done ? 0 : 1;
}
