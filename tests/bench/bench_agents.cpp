// What the search itself costs a candidate: the key of its code, and a screening of a call that
// takes next to nothing, with all that is around it.

#include <benchmark/benchmark.h>

#include <stdexcept>

#include "agents/search/code_identity.h"
#include "agents/search/live_bench.h"
#include "runners/cpu/cpu_runner.h"
#include "runners/cuda/cuda_build.h"
#include "signatures/catalog.h"
#include "signatures/family.h"
#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

const std::filesystem::path kRoot = FIB_SOURCE_DIR;
const std::filesystem::path kCache = std::filesystem::path(FIB_BINARY_DIR) / "bench-agents-cache";

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  return *std::move(result);
}

RunnerOptions runner_options() {
  return {.cache_folder = kCache,
          .worker_executable = FIB_TEST_WORKER,
          .include_folder = kRoot / "harness/abi"};
}

Solution house(const std::string& path) {
  return must(read_solution(kRoot / "leaderboard/solutions" / path));
}

void key_of(benchmark::State& state, const BuildOutcome& built) {
  if (!built.artifact) return state.SkipWithError(built.failure_log.c_str());
  int64_t code_bytes = 0;
  for (auto _ : state) {
    code_bytes = must(code_identity(*built.artifact)).behaviour.code_bytes;
  }
  state.counters["code_bytes"] = static_cast<double>(code_bytes);
}

void key_of_a_device_binary(benchmark::State& state) {
  if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
    return state.SkipWithError(library.error().message.c_str());
  }
  const auto builder = must(CudaBuilder::open(
      {.runner = runner_options(), .device_source_folder = kRoot / "runners/cuda/device"}));
  const Catalog catalog = must(Catalog::builtin(kRoot / "signatures/definitions"));
  const Solution solution = house("cuda/rmsnorm/rmsnorm-rows");
  const SignaturePtr signature = *catalog.find("rmsnorm_h4096");
  key_of(state, must(builder->build(
                    {.solution = solution, .signature = *signature, .architecture = "sm_90a"})));
}
BENCHMARK(key_of_a_device_binary)->Unit(benchmark::kMicrosecond);

SignaturePtr small_rmsnorm() {
  return std::make_shared<const Signature>(must(
      instantiate_by_name(kRoot / "signatures/definitions/rmsnorm/rmsnorm.json", "rmsnorm_h64")));
}

void key_of_a_shared_object(benchmark::State& state) {
  const auto runner = make_cpu_runner(runner_options());
  const Solution solution = house("cpu/rmsnorm/rmsnorm-plain");
  const SignaturePtr signature = small_rmsnorm();
  key_of(state, must(runner->build(
                    {.solution = solution, .signature = *signature, .architecture = "native"})));
}
BENCHMARK(key_of_a_shared_object)->Unit(benchmark::kMicrosecond);

// Two fresh workers, eight rounds of calls of some microseconds.
void screening_on_the_host(benchmark::State& state) {
  const auto runner = make_cpu_runner(runner_options());
  const ScratchFolder folder;
  const auto store = must(Store::open(folder / "fib.db"));
  ExpectedCache expected({}, 0, size_t{1} << 28);
  const Solution solution = house("cpu/rmsnorm/rmsnorm-plain");
  Workload workload;
  workload.axes = {{"batch_size", 7}};
  LiveBenchOptions options{.runner = *runner,
                           .devices = runner->devices(),
                           .problems = {must(fib::bind(small_rmsnorm(), workload))},
                           .baseline = solution,
                           .evaluation = {.measure = {.seed = 1}},
                           .expected = expected,
                           .store = *store};
  options.screening.max_samples = options.screening.min_samples = 8;
  const auto bench = must(make_live_bench(std::move(options)));
  const BuiltCandidate built = must(bench->build(solution));
  for (auto _ : state) {
    const Screening screening = must(bench->screen(0, solution, built));
    if (screening.verdict.status != VerdictStatus::kPassed) {
      state.SkipWithError(screening.verdict.message.c_str());
    }
  }
}
BENCHMARK(screening_on_the_host)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace fib::agents

BENCHMARK_MAIN();
