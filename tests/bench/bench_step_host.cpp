// The host's whole work for a decode step of 64 sequences as on a card, without one: scheduling,
// packing, the call of the graph, what taps make of its calls, the tokens. The card is made of host
// memory and takes no time, so that what the driver does for a launch and a copy isn't in it. The
// model is the bundled one, of 8 layers; a graph's launch is one call whatever the layers, but the
// taps see each call of them. Needs libnvrtc, as kernels are compiled for real.

#include <benchmark/benchmark.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <stdexcept>

#include "integrations/package/call_times.h"
#include "integrations/package/cuda_device.h"
#include "integrations/serving/engine/engine.h"
#include "integrations/serving/model/load_model.h"
#include "integrations/serving/traffic/expert_bytes.h"
#include "tests/integrations/package/fake_card.h"

namespace fib {
namespace {

constexpr int kRows = 64, kPrompt = 8, kSteps = 1000;

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

class Ends final : public RequestListener {
 public:
  void on_token(const GeneratedToken&) override {}
  void on_end(FinishReason, const RequestUsage&, const std::optional<Error>& error) override {
    const std::lock_guard lock(mutex_);
    if (error) error_ = error;
    ++ended_;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ == kRows; });
    if (error_) throw std::runtime_error(error_->to_string());
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int ended_ = 0;
  std::optional<Error> error_;
};

class ServedOnNothing {
 public:
  ServedOnNothing()
      : device_(require(DeviceContext::open(card_.driver(), 0))),
        dispatch_(require(open_house_dispatch(device_, options()))),
        times_(*dispatch_),
        executor_(
            require(load_model(*dispatch_, {.folder = source() / kModel},
                               {.max_decode_rows = kRows, .kv_bytes = size_t{384} << 20}, {}))) {}

  Dispatch& dispatch() { return *dispatch_; }

  // Short prompts, so that all steps but the first decode.
  EngineStats run() {
    const auto engine = require(Engine::start(*executor_, {.has_prefix_cache = false}));
    const auto listener = std::make_shared<Ends>();
    for (int row = 0; row < kRows; ++row) {
      EngineRequest request{.prompt = std::vector<TokenId>(kPrompt, 7 + row),
                            .sampling = {.max_tokens = kSteps, .temperature = 0.0f},
                            .listener = listener};
      request.sampling.ignore_eos = true;
      require(engine->submit(std::move(request)));
    }
    listener->wait();
    engine->drain();
    return engine->stats();
  }

 private:
  static constexpr const char* kModel = "integrations/serving/models/fib-tiny-moe";
  static std::filesystem::path source() { return FIB_SOURCE_DIR; }
  static HouseDispatchOptions options() {
    return {.definitions = source() / "signatures/definitions",
            .solutions = source() / "leaderboard/solutions",
            .abi = source() / "harness/abi",
            .device_sources = source() / "runners/cuda/device",
            .cache_folder = std::filesystem::path(FIB_BINARY_DIR) / "serving-test-cache",
            .worker_executable = FIB_TEST_WORKER};
  }

  FakeCard card_;
  CudaDevice device_;
  std::unique_ptr<Dispatch> dispatch_;
  CallTimes times_;  // as a server has them
  std::unique_ptr<ModelExecutor> executor_;
};

void report(benchmark::State& state, const EngineStats& stats) {
  const double steps = static_cast<double>(stats.steps);
  state.counters["steps"] = steps;
  state.counters["scheduler_us"] = stats.step_host_ns / 1e3 / steps;
  state.counters["executor_us"] = *stats.executor_host_ns / 1e3 / steps;
  state.counters["host_us"] = stats.host_ns() / 1e3 / steps;
}

void decode(benchmark::State& state) {
  ServedOnNothing served;
  served.run();  // plans, graphs
  for (auto _ : state) report(state, served.run());
}
BENCHMARK(decode)->Iterations(1)->Unit(benchmark::kMillisecond);

// The experts of each step come to the host and are counted.
void decode_with_experts_counted(benchmark::State& state) {
  ServedOnNothing served;
  const ExpertBytes bytes(served.dispatch());
  served.run();
  for (auto _ : state) report(state, served.run());
}
BENCHMARK(decode_with_experts_counted)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
