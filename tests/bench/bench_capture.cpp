// What a capture adds to a call that is like earlier ones, which nearly all are: a decode step of
// fib-tiny-moe makes about ninety calls.

#include <benchmark/benchmark.h>

#include <filesystem>
#include <numeric>
#include <stdexcept>

#include "integrations/serving/traffic/capture.h"
#include "signatures/catalog.h"

namespace fib {
namespace {

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

class NoKernel final : public Kernel {
 public:
  explicit NoKernel(SignaturePtr signature) : signature_(std::move(signature)) {}
  const Signature& signature() const override { return *signature_; }
  std::string_view solution() const override { return "none"; }
  Result<void> run(const KernelCall&) override { return {}; }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand>) override {
    return std::unique_ptr<PreparedWeights>();
  }

 private:
  SignaturePtr signature_;
};

struct Captured {
  Captured()
      : catalog(require(
            Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions"))),
        device(require(open_cpu_device(1))),
        dispatch(require(open_house_dispatch(*device, options()))) {
    const auto folder = std::filesystem::path(FIB_BINARY_DIR) / "bench-capture";
    capture = require(Capture::start(*dispatch, {.folder = folder}));
  }

  static HouseDispatchOptions options() {
    const std::filesystem::path source = FIB_SOURCE_DIR;
    return {.definitions = source / "signatures/definitions",
            .solutions = source / "leaderboard/solutions",
            .abi = source / "harness/abi",
            .device_sources = source / "runners/cuda/device",
            .cache_folder = std::filesystem::path(FIB_BINARY_DIR) / "package-test-cache"};
  }

  Catalog catalog;
  std::unique_ptr<ServingDevice> device;
  std::unique_ptr<Dispatch> dispatch;
  std::unique_ptr<Capture> capture;
};

void capture_gemm(benchmark::State& state) {
  Captured captured;
  const NoKernel kernel(require(captured.catalog.find("gemm_bf16_n512_k256")));
  const Operand inputs[] = {Operand::tensor(nullptr, {64, 256}),
                            Operand::tensor(nullptr, {512, 256})};
  const Operand outputs[] = {Operand::tensor(nullptr, {64, 512})};
  for (auto _ : state) captured.capture->on_call(kernel, {inputs, outputs}, 1.0);
}
BENCHMARK(capture_gemm)->Unit(benchmark::kNanosecond);

// `rows` requests of eight pages.
void capture_decode(benchmark::State& state) {
  Captured captured;
  const NoKernel kernel(require(captured.catalog.find("gqa_paged_decode_h4_kv2_d64_ps16")));
  const int64_t rows = state.range(0), pages = 8 * rows;
  std::vector<int32_t> offsets(static_cast<size_t>(rows + 1)), ids(static_cast<size_t>(pages));
  for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<int32_t>(8 * i);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<int32_t> last(static_cast<size_t>(rows), 3);
  const auto tensor = [](std::vector<int32_t>& values) {
    return Operand::tensor(reinterpret_cast<std::byte*>(values.data()),
                           {static_cast<int64_t>(values.size())});
  };
  const Operand inputs[] = {Operand::tensor(nullptr, {rows, 4, 64}),
                            Operand::tensor(nullptr, {1000, 16, 2, 64}),
                            Operand::tensor(nullptr, {1000, 16, 2, 64}),
                            tensor(offsets),
                            tensor(ids),
                            tensor(last),
                            Operand::value(0.125)};
  std::byte output{};
  const Operand outputs[] = {Operand::tensor(&output, {rows, 4, 64}),
                             Operand::tensor(&output, {rows, 4})};
  for (auto _ : state) captured.capture->on_call(kernel, {inputs, outputs}, 1.0);
}
BENCHMARK(capture_decode)->Arg(1)->Arg(64)->Unit(benchmark::kNanosecond);

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
