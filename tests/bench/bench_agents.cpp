// What the search itself costs a candidate: the key of its code, and a screening, a race and a
// judgement of calls that take next to nothing, with all that is around them.

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

// The bench on this machine's processors, over workloads of so many rows; the candidate is the
// baseline once more, so that all workloads have to be looked at.
class HostBench {
 public:
  explicit HostBench(std::vector<int64_t> rows) {
    LiveBenchOptions options{.runner = *runner_,
                             .devices = runner_->devices(),
                             .problems = {},
                             .baseline = solution_,
                             .evaluation = {.measure = {.seed = 1}},
                             .expected = expected_,
                             .store = *store_};
    for (const int64_t batch : rows) {
      Workload workload;
      workload.uuid = std::to_string(batch);
      workload.axes = {{"batch_size", batch}};
      options.problems.push_back(must(fib::bind(small_rmsnorm(), workload)));
    }
    options.screening.max_samples = options.screening.min_samples = 8;
    bench_ = must(make_live_bench(std::move(options)));
    built_ = must(bench_->build(solution_));
  }
  Screening screen() { return must(bench_->screen(0, solution_, built_)); }
  Race race(const Screening& screening) {
    return must(bench_->race(0, solution_, built_, {.rival = {}, .screening = screening}));
  }
  Judgement judge() { return must(bench_->judge(0, solution_, built_)); }

 private:
  const std::unique_ptr<Runner> runner_ = make_cpu_runner(runner_options());
  const ScratchFolder folder_;
  const std::unique_ptr<Store> store_ = must(Store::open(folder_ / "fib.db"));
  ExpectedCache expected_{{}, 0, size_t{1} << 28};
  const Solution solution_ = house("cpu/rmsnorm/rmsnorm-plain");
  std::unique_ptr<Bench> bench_;
  BuiltCandidate built_;
};

// Two fresh workers, eight rounds of calls of some microseconds.
void screening_on_the_host(benchmark::State& state) {
  HostBench bench({7});
  for (auto _ : state) {
    const Screening screening = bench.screen();
    if (screening.verdict.status != VerdictStatus::kPassed) {
      state.SkipWithError(screening.verdict.message.c_str());
    }
  }
}
BENCHMARK(screening_on_the_host)->Unit(benchmark::kMillisecond)->UseRealTime();

// What a race saves: five workloads looked at briefly, and the same judged in full.
void race_on_the_host(benchmark::State& state) {
  HostBench bench({1, 7, 40, 200, 1000});
  const Screening screening = bench.screen();
  int64_t workloads = 0;
  for (auto _ : state) workloads = bench.race(screening).workloads;
  state.counters["workloads"] = static_cast<double>(workloads);
}
BENCHMARK(race_on_the_host)->Unit(benchmark::kMillisecond)->UseRealTime();

void judgement_on_the_host(benchmark::State& state) {
  HostBench bench({1, 7, 40, 200, 1000});
  for (auto _ : state) {
    if (!bench.judge().passed) state.SkipWithError("the house's solution doesn't pass");
  }
}
BENCHMARK(judgement_on_the_host)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace fib::agents

BENCHMARK_MAIN();
