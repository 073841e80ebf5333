// What a call through a package costs before its kernel runs: lookup, plan, arguments. Kernels do
// nothing here; the goal is 100 ns for shapes that were seen before and 20 us for new ones.

#include <benchmark/benchmark.h>

#include <stdexcept>

#include "integrations/package/runtime/device.h"
#include "tests/integrations/package/runtime/small_package.h"
#ifdef FIB_WITH_CUDA
#include "integrations/package/runtime/cuda_target.h"
#include "tests/integrations/package/runtime/recording_driver.h"
#endif

namespace fib::package {
namespace {

// 0 rows: the kernel on the CPU finds nothing to do.
constexpr int64_t kNoRows = 0;

void require(fib_kernels_status status) {
  if (status != FIB_KERNELS_OK) throw std::runtime_error(fib_kernels_last_error());
}

void cpu_raw(benchmark::State& state) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(kNoRows);
  const fib_kernels_raw_call raw = call.raw();
  for (auto _ : state) require(fib_kernels_launch_raw(op, &raw));
}
BENCHMARK(cpu_raw);

void cpu_tensors(benchmark::State& state) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(kNoRows);
  for (auto _ : state) require(fib_kernels_launch(op, &call.call));
}
BENCHMARK(cpu_tensors);

// Shapes in turn, more of them than are kept: each call is planned anew.
void cpu_new_shape(benchmark::State& state) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(kNoRows);
  fib_kernels_raw_call raw = call.raw();
  size_t bytes = 0;
  for (auto _ : state) {
    call.axes[0] = (call.axes[0] + 1) % 100'000;
    call.axes[1] = call.axes[0] + 1;
    require(fib_kernels_raw_workspace_bytes(op, &raw, &bytes));
  }
}
BENCHMARK(cpu_new_shape);

void cpu_open(benchmark::State& state) {
  for (auto _ : state) {
    const OpenPackage package;
    benchmark::DoNotOptimize(package.device);
  }
}
BENCHMARK(cpu_open)->Unit(benchmark::kMicrosecond);

#ifdef FIB_WITH_CUDA

struct Card {
  Card() { driver.is_recording = false; }
  fib_kernels_device* open() {
    auto target = open_cuda_target(driver.driver(), 0);
    return Device::open(fib_kernels_table, *std::move(target))->release();
  }
  RecordingDriver driver;
};

void move(ScaleCall& call) {
  for (fib_kernels_tensor& input : call.inputs) input.device = {kFibKernelsCuda, 0};
  call.outputs[0].device = {kFibKernelsCuda, 0};
}

// One launch of a kernel with five arguments; `addresses` of an input take turns, as layers do.
void card_raw(benchmark::State& state) {
  Card card;
  const OpenPackage package(card.open());
  const fib_kernels_op* op = package.find();
  ScaleCall call(5);
  const fib_kernels_raw_call raw = call.raw();
  uintptr_t layer = 0;
  for (auto _ : state) {
    call.raw_inputs[0] = reinterpret_cast<void*>((layer++ % 32 + 1) << 20);
    require(fib_kernels_launch_raw(op, &raw));
  }
}
BENCHMARK(card_raw);

void card_tensors(benchmark::State& state) {
  Card card;
  const OpenPackage package(card.open());
  const fib_kernels_op* op = package.find();
  ScaleCall call(5);
  move(call);
  for (auto _ : state) require(fib_kernels_launch(op, &call.call));
}
BENCHMARK(card_tensors);

// With a host copy of that many values, which the plan depends on.
void card_host_copy(benchmark::State& state) {
  Card card;
  const OpenPackage package(card.open());
  const fib_kernels_op* op = package.find();
  ScaleCall call(state.range(0));
  call.call.host_inputs = call.host_inputs.data();
  const fib_kernels_raw_call raw = call.raw();
  for (auto _ : state) require(fib_kernels_launch_raw(op, &raw));
}
BENCHMARK(card_host_copy)->Arg(8)->Arg(256);

// A launch with a tensor map of an input whose address changes from layer to layer.
void card_tensor_map(benchmark::State& state) {
  Card card;
  const OpenPackage package(card.open());
  const fib_kernels_op* op = package.find();
  ScaleCall call(128);
  alignas(256) static std::byte block[256];
  call.call.prepared = block;
  call.call.prepared_bytes = sizeof block;
  const fib_kernels_raw_call raw = call.raw();
  uintptr_t layer = 0;
  for (auto _ : state) {
    call.raw_inputs[0] = reinterpret_cast<void*>((layer++ % 32 + 1) << 20);
    require(fib_kernels_launch_raw(op, &raw));
  }
}
BENCHMARK(card_tensor_map);

void card_new_shape(benchmark::State& state) {
  Card card;
  const OpenPackage package(card.open());
  const fib_kernels_op* op = package.find();
  ScaleCall call(300);
  fib_kernels_raw_call raw = call.raw();
  for (auto _ : state) {
    call.axes[0] = 201 + (call.axes[0] + 1) % 700;
    call.axes[1] = call.axes[0] + 1;
    require(fib_kernels_launch_raw(op, &raw));
  }
}
BENCHMARK(card_new_shape);

void card_open(benchmark::State& state) {
  Card card;
  for (auto _ : state) {
    const OpenPackage package(card.open());
    benchmark::DoNotOptimize(package.device);
  }
}
BENCHMARK(card_open)->Unit(benchmark::kMicrosecond);

#endif  // FIB_WITH_CUDA

}  // namespace
}  // namespace fib::package

BENCHMARK_MAIN();
