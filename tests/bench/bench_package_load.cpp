// What it takes to load a whole package, and to bring another one up to where its kernels run beside
// those that serve. Wanted: loading in under 50 ms, and no step of the engine that waits for long.
//
//   bench_package_load [PACKAGE] [benchmark's own options]
//
// PACKAGE: of `fib export --model fib-tiny-moe`, a folder; the one that the build made if it isn't
// named. Whatever else it holds (device code for cards) is loaded with it.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <stdexcept>

#include "integrations/package/package_dispatch.h"
#include "integrations/package/package_library.h"
#include "integrations/package/swappable_dispatch.h"
#include "integrations/serving/model/load_model.h"

namespace fib {
namespace {

const std::filesystem::path kSource = FIB_SOURCE_DIR;
const std::filesystem::path kScratch = std::filesystem::path(FIB_BINARY_DIR) / "bench-package";

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

std::filesystem::path& package_path() {
  static std::filesystem::path path;
  return path;
}

std::filesystem::path package_of_build() {
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(FIB_BINARY_DIR) / "packages")) {
    if (entry.is_directory()) return entry.path();
  }
  throw std::runtime_error("the build has no package: ninja default_kernels, or name one");
}

// Its checksums compared, its object opened.
void load(benchmark::State& state) {
  for (auto _ : state) require(PackageLibrary::open(package_path(), kScratch));
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

std::unique_ptr<Dispatch> open_dispatch(ServingDevice& device) {
  return require(open_package_dispatch(
      device, require(PackageLibrary::open(package_path(), kScratch)),
      {.house = {.definitions = kSource / "signatures/definitions"},
       .missing = PackageDispatchOptions::Missing::kIsError}));
}

struct ServedPackage {
  ServedPackage()
      : device(require(open_cpu_device(1))),
        dispatch(std::make_unique<SwappableDispatch>(open_dispatch(*device), "first",
                                                     SwapOptions{})),
        executor(require(load_model(*dispatch,
                                    {.folder = kSource / "integrations/serving/models/fib-tiny-moe"},
                                    {.kv_bytes = size_t{16} << 20}, {}))) {}

  std::unique_ptr<ServingDevice> device;
  std::unique_ptr<SwappableDispatch> dispatch;
  std::unique_ptr<ModelExecutor> executor;
};

// Between steps the engine calls tend(), which does a piece of the work: from the proposal to where
// live calls run on both. `longest_ms` is the piece that a step waited for longest.
void warm_another(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  ServedPackage served;
  double longest_s = 0.0, pieces = 0.0;
  for (auto _ : state) {
    require(served.dispatch->begin_loading("second"));
    served.dispatch->propose(
        [&]() -> Result<std::unique_ptr<Dispatch>> { return open_dispatch(*served.device); });
    while (served.dispatch->status().state != SwapState::kShadowing) {
      const auto start = Clock::now();
      served.dispatch->tend();
      longest_s = std::max(longest_s, std::chrono::duration<double>(Clock::now() - start).count());
      ++pieces;
    }
  }
  state.counters["longest_ms"] = 1e3 * longest_s;
  state.counters["pieces"] = pieces / static_cast<double>(state.iterations());
}
BENCHMARK(warm_another)->Unit(benchmark::kMillisecond);

// What a step pays for being exchangeable while nothing is exchanged.
void begin_step(benchmark::State& state) {
  ServedPackage served;
  for (auto _ : state) {
    benchmark::DoNotOptimize(served.dispatch->tend());
    benchmark::DoNotOptimize(served.dispatch->begin_step());
  }
}
BENCHMARK(begin_step)->Unit(benchmark::kNanosecond);

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  fib::package_path() = argc > 1 ? argv[1] : fib::package_of_build();
  benchmark::RunSpecifiedBenchmarks();
}
