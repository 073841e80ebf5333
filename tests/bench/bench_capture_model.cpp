// What a capture of integers adds to decode steps of fib-tiny-moe, on one thread, where calls are
// timed for the metrics anyway, as in a server. Blocks of a few milliseconds with and without it
// alternate, and processor time is counted, so that neighbours on the machine meet both alike.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <random>
#include <stdexcept>

#include "integrations/package/call_times.h"
#include "integrations/serving/model/load_model.h"
#include "integrations/serving/traffic/capture.h"

namespace fib {
namespace {

constexpr int kBlocks = 200, kStepsPerBlock = 8;
constexpr int kShortest = 128, kLongest = 640;  // tokens of a sequence

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

double cpu_s() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Of the median, 95 %, by bootstrap.
std::pair<double, double> interval(const std::vector<double>& values) {
  std::mt19937_64 random(1);
  std::vector<double> medians;
  for (int draw = 0; draw < 1000; ++draw) {
    std::vector<double> again;
    for (size_t i = 0; i < values.size(); ++i) again.push_back(values[random() % values.size()]);
    medians.push_back(median(std::move(again)));
  }
  std::sort(medians.begin(), medians.end());
  return {medians[25], medians[974]};
}

// Sequences that decode together, their lengths spread over the range.
class Decoding {
 public:
  explicit Decoding(int rows)
      : device_(require(open_cpu_device(1))),
        dispatch_(require(open_house_dispatch(*device_, options()))) {
    executor_ = require(load_model(*dispatch_, {.folder = source() / kModel},
                                   {.max_decode_rows = rows, .kv_bytes = size_t{256} << 20}, {}));
    const int pages = kLongest / executor_->limits().page_size;
    for (int row = 0; row < rows; ++row) {
      pages_.emplace_back();
      for (int page = 0; page < pages; ++page) pages_.back().push_back(page * rows + row);
    }
  }

  Dispatch& dispatch() { return *dispatch_; }

  // A block of steps; the same `block` has the same lengths. Its processor time.
  double run(int block) {
    const double start = cpu_s();
    for (int i = 0; i < kStepsPerBlock; ++i) step(block * kStepsPerBlock + i);
    return cpu_s() - start;
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

  void step(int number) {
    const int page_size = executor_->limits().page_size;
    Step step;
    for (size_t row = 0; row < pages_.size(); ++row) {
      const int position =
          kShortest + (number + 37 * static_cast<int>(row)) % (kLongest - kShortest);
      step.decode.push_back({.sequence = row,
                             .tokens = std::span(&token_, 1),
                             .first_position = position,
                             .pages = std::span(pages_[row]).first(
                                 static_cast<size_t>(position / page_size + 1)),
                             .wants_token = true});
    }
    step.choices.assign(pages_.size(), {.temperature = 0.0f});
    require(executor_->run(step));
  }

  const TokenId token_ = 17;
  std::unique_ptr<ServingDevice> device_;
  std::unique_ptr<Dispatch> dispatch_;
  std::unique_ptr<ModelExecutor> executor_;
  std::vector<std::vector<int32_t>> pages_;
};

void decode_under_capture(benchmark::State& state) {
  Decoding decoding(static_cast<int>(state.range(0)));
  const CallTimes metrics(decoding.dispatch());
  const auto folder = std::filesystem::path(FIB_BINARY_DIR) / "bench-capture";
  const auto capture = require(Capture::start(decoding.dispatch(), {.folder = folder}));
  const auto with = [&](int block) {
    decoding.dispatch().add_tap(*capture);
    const double seconds = decoding.run(block);
    decoding.dispatch().remove_tap(*capture);
    return seconds;
  };
  decoding.dispatch().remove_tap(*capture);
  decoding.run(0);
  for (auto _ : state) {
    std::vector<double> cost, apart;
    for (int block = 0; block < kBlocks; ++block) {
      // What drifts is in both.
      const double first = with(block), without = decoding.run(block);
      const double again = decoding.run(block), last = with(block);
      cost.push_back((first + last) / (without + again) - 1.0);
      apart.push_back(std::abs(again / without - 1.0));
    }
    const auto [low, high] = interval(cost);
    state.counters["cost_percent"] = 100 * median(cost);
    state.counters["low_percent"] = 100 * low;
    state.counters["high_percent"] = 100 * high;
    state.counters["equal_blocks_apart_percent"] = 100 * median(apart);
  }
}
BENCHMARK(decode_under_capture)->Arg(1)->Arg(8)->Iterations(1)->Unit(benchmark::kSecond);

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
