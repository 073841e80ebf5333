// How long NVRTC takes: the first compile of a process, the next ones, and a hit in the build
// cache. An argument or two of Google Benchmark apart, everything is found by itself.

#include <benchmark/benchmark.h>

#include <filesystem>

#include "runners/cuda/nvrtc_worker.h"
#include "runners/cuda/cuda_build.h"
#include "signatures/base/file.h"
#include "signatures/catalog.h"

namespace fib {
namespace {

const std::filesystem::path kRoot = FIB_SOURCE_DIR;

NvrtcRequest request() {
  return {.entry = {"clock.cu", *read_file(kRoot / "tests/runners/cuda_candidates/clock.cu")},
          .options = {"-arch=sm_90a", "-std=c++17", "-default-device"},
          .name_expressions = {"do_nothing", "copy_vectors"}};
}

NvrtcFarmOptions farm_options(benchmark::State& state) {
  const auto library = find_cuda_library({}, CudaLibrary::kNvrtc);
  if (!library) state.SkipWithError(library.error().message.c_str());
  return {.worker_executable = FIB_TEST_WORKER, .library = library ? *library : ""};
}

// A fresh process each time: start, load libnvrtc, compile.
void compile_in_a_fresh_process(benchmark::State& state) {
  const NvrtcFarmOptions options = farm_options(state);
  for (auto _ : state) {
    NvrtcFarm farm(options);
    if (!farm.compile(request(), 60.0)) state.SkipWithError("it doesn't compile");
  }
}
BENCHMARK(compile_in_a_fresh_process)->Unit(benchmark::kMillisecond)->UseRealTime();

void compile_in_a_warm_process(benchmark::State& state) {
  NvrtcFarm farm(farm_options(state));
  (void)farm.compile(request(), 60.0);
  for (auto _ : state) {
    if (!farm.compile(request(), 60.0)) state.SkipWithError("it doesn't compile");
  }
}
BENCHMARK(compile_in_a_warm_process)->Unit(benchmark::kMillisecond)->UseRealTime();

void find_in_the_build_cache(benchmark::State& state) {
  const auto folder = std::filesystem::path(FIB_BINARY_DIR) / "bench-nvrtc-cache";
  auto builder = CudaBuilder::open({.runner = {.cache_folder = folder,
                                               .worker_executable = FIB_TEST_WORKER,
                                               .include_folder = kRoot / "harness/abi"},
                                    .device_source_folder = kRoot / "runners/cuda/device"});
  if (!builder) return state.SkipWithError(builder.error().message.c_str());
  const auto solution = read_solution(kRoot / "leaderboard/solutions/cuda/rmsnorm/rmsnorm-rows");
  const auto catalog = Catalog::builtin(kRoot / "signatures/definitions");
  const SignaturePtr signature = *catalog->find("rmsnorm_h4096");
  const BuildRequest build{.solution = *solution, .signature = *signature, .architecture = "sm_90a"};
  (void)(*builder)->build(build);
  for (auto _ : state) {
    const auto outcome = (*builder)->build(build);
    if (!outcome || !outcome->artifact) state.SkipWithError("it doesn't build");
  }
}
BENCHMARK(find_in_the_build_cache)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
