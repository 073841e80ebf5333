// What a call through the dispatch costs above the kernel itself: a decode step makes hundreds.

#include <benchmark/benchmark.h>

#include <filesystem>
#include <stdexcept>

#include "integrations/package/dispatch.h"

namespace fib {
namespace {

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

class SilentTap : public CallTap {
 public:
  void on_call(const Kernel&, const KernelCall&, double host_ns) override {
    benchmark::DoNotOptimize(host_ns);
  }
};

struct House {
  House()
      : device(require(open_cpu_device(1))),
        dispatch(require(open_house_dispatch(*device, options()))) {}

  static HouseDispatchOptions options() {
    const std::filesystem::path source = FIB_SOURCE_DIR;
    return {.definitions = source / "signatures/definitions",
            .solutions = source / "leaderboard/solutions",
            .abi = source / "harness/abi",
            .device_sources = source / "runners/cuda/device",
            .cache_folder = std::filesystem::path(FIB_BINARY_DIR) / "package-test-cache"};
  }

  std::unique_ptr<ServingDevice> device;
  std::unique_ptr<Dispatch> dispatch;
};

// `rows` of 64 values. With 0 rows the kernel has nothing to do: what is left is the dispatch.
void run_rmsnorm(benchmark::State& state, int taps) {
  House house;
  Kernel& kernel = *require(house.dispatch->resolve({"rmsnorm_h64"}));
  const int64_t rows = state.range(0);
  const DeviceArray memory = require(house.device->allocate(4096));
  require(house.device->fill(memory.data(), 0, memory.bytes()));
  const Operand inputs[] = {Operand::tensor(memory, {rows, 64}), Operand::tensor(memory, {64})};
  const Operand outputs[] = {Operand::tensor(memory.data() + 2048, {rows, 64})};
  SilentTap tap;
  for (int i = 0; i < taps; ++i) house.dispatch->add_tap(tap);
  for (auto _ : state) require(kernel.run({inputs, outputs}));
}

void run_untapped(benchmark::State& state) { run_rmsnorm(state, 0); }
BENCHMARK(run_untapped)->Arg(0)->Arg(1)->Unit(benchmark::kNanosecond);

void run_tapped(benchmark::State& state) { run_rmsnorm(state, 1); }
BENCHMARK(run_tapped)->Arg(0)->Arg(1)->Unit(benchmark::kNanosecond);

void prefetch_what_is_there(benchmark::State& state) {
  House house;
  const std::vector<SignatureRequest> requests = {{"rmsnorm_h64"}, {"rmsnorm_h256"}};
  require(house.dispatch->prefetch(requests, nullptr));
  for (auto _ : state) require(house.dispatch->prefetch(requests, nullptr));
}
BENCHMARK(prefetch_what_is_there)->Unit(benchmark::kNanosecond);

void open_dispatch(benchmark::State& state) {
  const auto device = require(open_cpu_device(1));
  for (auto _ : state) {
    benchmark::DoNotOptimize(require(open_house_dispatch(*device, House::options())));
  }
}
BENCHMARK(open_dispatch)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
