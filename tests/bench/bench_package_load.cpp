// What it takes to load a whole package, and to bring another one up to where its kernels run
// beside those that serve. Wanted: loading in under 50 ms, and no step of the engine that waits for
// long.
//
//   bench_package_load [--target cpu|cuda] [PACKAGE] [benchmark's own options]
//
// PACKAGE: of `fib export --model fib-tiny-moe`, a folder; on the CPU the one that the build made
// if it isn't named. With --target cuda its device code is loaded onto a card, which needs one.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string_view>

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

struct Wanted {
  bool is_cuda = false;
  std::filesystem::path package;
};

Wanted& wanted() {
  static Wanted wanted;
  return wanted;
}

std::unique_ptr<ServingDevice> open_device() {
  return require(wanted().is_cuda ? open_cuda_device(0) : open_cpu_device(1));
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
  for (auto _ : state) require(PackageLibrary::open(wanted().package, kScratch));
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

// Its device opened besides: on a card all modules are loaded, and the context is there before.
void load_and_open(benchmark::State& state) {
  const auto device = open_device();
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.device_type = wanted().is_cuda ? kFibKernelsCuda : kFibKernelsCpu;
  options.num_threads = 1;
  for (auto _ : state) {
    const auto library = require(PackageLibrary::open(wanted().package, kScratch));
    fib_kernels_device* opened = nullptr;
    require(library->check(library->api().open(&options, &opened), "the device"));
    state.PauseTiming();
    library->api().close(opened);
    state.ResumeTiming();
  }
}
BENCHMARK(load_and_open)->Unit(benchmark::kMillisecond);

std::unique_ptr<Dispatch> open_dispatch(ServingDevice& device) {
  return require(
      open_package_dispatch(device, require(PackageLibrary::open(wanted().package, kScratch)),
                            {.house = {.definitions = kSource / "signatures/definitions"},
                             .missing = PackageDispatchOptions::Missing::kIsError}));
}

struct ServedPackage {
  ServedPackage()
      : device(open_device()),
        dispatch(
            std::make_unique<SwappableDispatch>(open_dispatch(*device), "first", SwapOptions{})),
        executor(require(
            load_model(*dispatch, {.folder = kSource / "integrations/serving/models/fib-tiny-moe"},
                       {.kv_bytes = size_t{16} << 20}, {}))) {}

  std::unique_ptr<ServingDevice> device;
  std::unique_ptr<SwappableDispatch> dispatch;
  std::unique_ptr<ModelExecutor> executor;
};

// Another thread loads the package; between steps the engine calls tend(), which does a piece of
// the work: from the proposal to where live calls run on both. `longest_ms` is the piece that a
// step waited for longest.
void warm_another(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  ServedPackage served;
  double longest_s = 0.0, pieces = 0.0;
  for (auto _ : state) {
    require(served.dispatch->begin_loading("second"));
    const auto loaded = std::make_shared<LoadedPackage>(require(
        load_package(*served.device, require(PackageLibrary::open(wanted().package, kScratch)),
                     kSource / "signatures/definitions")));
    served.dispatch->propose([&, loaded]() -> Result<std::unique_ptr<Dispatch>> {
      return make_package_dispatch(*served.device, std::move(*loaded),
                                   {.missing = PackageDispatchOptions::Missing::kIsError});
    });
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

// Takes what is ours out of the arguments. Refuses what can't be meant; an empty string, or why this
// machine can't measure it.
std::string read_arguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--target" && i + 1 < argc) {
      const std::string_view target = argv[++i];
      if (target != "cpu" && target != "cuda") throw std::runtime_error("--target is cpu or cuda");
      wanted().is_cuda = target == "cuda";
    } else {
      wanted().package = argument;
    }
  }
  if (!wanted().is_cuda) {
    if (wanted().package.empty()) wanted().package = package_of_build();
    return "";
  }
  if (wanted().package.empty()) {
    throw std::runtime_error("--target cuda: name a package with device code");
  }
  const auto card = open_cuda_device(0);
  return card ? "" : card.error().to_string();
}

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (const std::string reason = fib::read_arguments(argc, argv); !reason.empty()) {
    std::cout << "skipped: " << reason << '\n';
    return 0;
  }
  benchmark::RunSpecifiedBenchmarks();
}
