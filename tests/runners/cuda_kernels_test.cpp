// On a card, in this process: the harness's own kernels against their definitions on the host.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/compare.h"
#include "harness/statistics.h"
#include "runners/cuda/cuda_build.h"
#include "runners/cuda/cuda_session.h"
#include "runners/cuda/device_clock.h"
#include "runners/cuda/device_kernels.h"
#include "tests/runners/cuda_fixture.h"
#include "workloads/generator.h"

namespace fib {
namespace {

class CudaKernelsTest : public testing::Test {
 protected:
  struct Device {
    std::unique_ptr<DeviceContext> context;
    std::optional<HarnessKernels> kernels;
  };

  void SetUp() override {
    const CudaRunnerOptions options = cuda_options(kTestCache);
    const Support support = make_cuda_runner(options)->available();
    if (!support.ok) GTEST_SKIP() << support.reason << " (" << support.remedy << ")";
    auto builder = CudaBuilder::open(
        {.runner = options.runner, .device_source_folder = options.device_source_folder});
    ASSERT_TRUE(builder) << builder.error().to_string();
    auto driver = CudaDriver::open();
    ASSERT_TRUE(driver) << driver.error().to_string();
    auto context = DeviceContext::open(*driver, 0);
    ASSERT_TRUE(context) << context.error().to_string();
    context_ = *std::move(context);
    auto cubin = (*builder)->harness_kernels(context_->facts().architecture);
    ASSERT_TRUE(cubin) << cubin.error().to_string();
    auto kernels = HarnessKernels::load(*context_, std::as_bytes(std::span(*cubin)));
    ASSERT_TRUE(kernels) << kernels.error().to_string();
    kernels_.emplace(*std::move(kernels));
  }

  DeviceMemory memory(size_t bytes) {
    DeviceMemory memory(context_->driver());
    EXPECT_TRUE(memory.reserve(bytes));
    return memory;
  }
  void to_device(CUdeviceptr to, const void* from, size_t bytes) {
    context_->driver().cuMemcpyHtoDAsync(to, from, bytes, context_->stream());
    EXPECT_TRUE(context_->wait(5.0));
  }
  void to_host(void* to, CUdeviceptr from, size_t bytes) {
    context_->driver().cuMemcpyDtoHAsync(to, from, bytes, context_->stream());
    EXPECT_TRUE(context_->wait(5.0));
  }

  std::unique_ptr<DeviceContext> context_;
  std::optional<HarnessKernels> kernels_;
};

TEST_F(CudaKernelsTest, FillAgreesWithTheHostToTheBit) {
  using Kind = Distribution::Kind;
  const Distribution distributions[] = {{Kind::kDefault},
                                        {Kind::kNormal, 0.25, 3.0},
                                        {Kind::kUniform, -2.0, 5.0},
                                        {Kind::kUniformInt, -100, 100},
                                        {Kind::kBits}};
  const int64_t count = 100003;
  for (int d = 0; d < kDTypeCount; ++d) {
    const DType dtype = static_cast<DType>(d);
    for (const Distribution& wanted : distributions) {
      const bool is_real = wanted.kind == Kind::kNormal || wanted.kind == Kind::kUniform;
      if (is_real && !is_floating(dtype)) continue;
      const Generated generated{.seed = 0x123456789ABCDEF0ull,
                                .stream = 3,
                                .distribution = resolve_distribution(wanted, dtype)};
      const size_t bytes = storage_bytes(dtype, count);
      std::vector<std::byte> host(bytes), device(bytes);
      fill_generated(generated, dtype, 0, count, host.data());
      DeviceMemory out = memory(bytes + 256);
      ASSERT_TRUE(kernels_->fill({.rule = value_rule(generated.distribution, dtype),
                                  .seed = generated.seed,
                                  .stream = generated.stream,
                                  .out = out.address(),
                                  .count = static_cast<fib_u64>(count)}));
      to_host(device.data(), out.address(), bytes);
      EXPECT_EQ(std::memcmp(host.data(), device.data(), bytes), 0)
          << dtype_name(dtype) << ", distribution " << static_cast<int>(wanted.kind);
    }
  }
}

TEST_F(CudaKernelsTest, FillOfNineGigabytesTakesMilliseconds) {
  const uint64_t words = 9500ull * 1000 * 1000 / 4;
  DeviceMemory out = memory(words * 4);
  const FillArguments fill{.rule = value_rule({Distribution::Kind::kBits}, DType::kInt32),
                           .seed = 1,
                           .out = out.address(),
                           .count = words};
  for (int i = 0; i < 2; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(kernels_->fill(fill));
    ASSERT_TRUE(context_->wait(5.0));
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() -
                                                                start).count();
    printf("9.5 GB of int4 words: %.1f ms\n", ms);
    EXPECT_LT(ms, i == 0 ? 1000.0 : 60.0);
  }
}

TEST_F(CudaKernelsTest, ComparisonAgreesWithTheHost) {
  const int64_t rows = 57, row_length = 1000, count = rows * row_length;
  const ParallelFor serial = [](int64_t n, const auto& body) { body(0, n); };
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16,
                            DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kInt32}) {
    FloatBuffer exact(count);
    std::vector<std::byte> candidate(storage_bytes(dtype, count));
    const Generated noise{.seed = 7, .stream = 0,
                          .distribution = {Distribution::Kind::kNormal, 0.0, 8.0}};
    fill_generated(noise, DType::kFloat32, 0, count, reinterpret_cast<std::byte*>(exact.data()));
    for (int64_t i = 0; i < count; ++i) {
      store_element(dtype, candidate.data(), i, exact[i] * (i % 97 == 0 ? 1.25 : 1.0));
    }
    if (is_floating(dtype)) {
      exact[5] = inf, exact[6] = nan, exact[7] = -inf, exact[8] = 1.0f;
      store_element(dtype, candidate.data(), 6, nan);
      store_element(dtype, candidate.data(), 8, nan);
    }
    const ReferenceValues reference = make_reference_values(exact, row_length, serial);
    const ErrorStats host = compare_output(dtype, candidate, reference, 0.05, serial);

    DeviceMemory data = memory(candidate.size() + 256), values = memory(count * 4);
    DeviceMemory scales = memory(rows * 4), stats = memory(sizeof(DeviceErrorStats));
    to_device(data.address(), candidate.data(), candidate.size());
    to_device(values.address(), reference.values.data(), count * 4);
    to_device(scales.address(), reference.row_scale.data(), rows * 4);
    DeviceErrorStats result{};
    result.first_bad_index = ~0ull;
    to_device(stats.address(), &result, sizeof result);
    ASSERT_TRUE(kernels_->compare({.candidate = data.address(),
                                   .expected = values.address(),
                                   .row_scale = scales.address(),
                                   .stats = stats.address(),
                                   .first = 0,
                                   .count = static_cast<fib_u64>(count),
                                   .row_length = static_cast<fib_u64>(row_length),
                                   .max_error_rms = 0.05,
                                   .format = element_format(dtype)}));
    to_host(&result, stats.address(), sizeof result);
    const ErrorStats device = error_stats_of(result);
    SCOPED_TRACE(std::string(dtype_name(dtype)));
    EXPECT_EQ(device.count, host.count);
    EXPECT_EQ(device.nonfinite_mismatches, host.nonfinite_mismatches);
    EXPECT_EQ(device.first_bad_index, host.first_bad_index);
    EXPECT_EQ(device.elements_over_bound, host.elements_over_bound);
    EXPECT_NEAR(device.sum_squared_error, host.sum_squared_error, 1e-9 * host.sum_squared_error);
    EXPECT_NEAR(device.sum_squared_reference, host.sum_squared_reference,
                1e-9 * host.sum_squared_reference);
    EXPECT_DOUBLE_EQ(device.max_absolute_error, host.max_absolute_error);
    EXPECT_DOUBLE_EQ(device.max_relative_error, host.max_relative_error);
    EXPECT_DOUBLE_EQ(device.max_normalised_error, host.max_normalised_error);
    EXPECT_EQ(device.histogram, host.histogram);
  }
}

TEST_F(CudaKernelsTest, DigestSeesEveryByte) {
  std::vector<unsigned char> bytes(100001);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 31);
  DeviceMemory data = memory(bytes.size() + 256), out = memory(16);
  const auto digest = [&] {
    uint64_t words[2] = {0, 0};
    to_device(data.address(), bytes.data(), bytes.size());
    to_device(out.address(), words, sizeof words);
    EXPECT_TRUE(kernels_->digest({.address = data.address(), .bytes = bytes.size(), .salt = 5,
                                  .digest = out.address()}));
    to_host(words, out.address(), sizeof words);
    return std::pair{words[0], words[1]};
  };
  const auto first = digest();
  EXPECT_EQ(digest(), first);
  for (const size_t at : {size_t{0}, size_t{8}, size_t{50000}, bytes.size() - 1}) {
    bytes[at] ^= 1;
    EXPECT_NE(digest(), first) << "byte " << at;
    bytes[at] ^= 1;
  }
  std::swap(bytes[16], bytes[32]);  // 16-byte vectors aren't interchangeable
  EXPECT_NE(digest(), first);
}

// The runner's clock on the two kernels that tests/bench/bench_cupti_plain times too.
class CudaClockTest : public CudaKernelsTest {
 protected:
  // Before the context: CUPTI must be first. Whether there is a card is asked in a worker process.
  void SetUp() override {
    const Support support = make_cuda_runner(cuda_options(kTestCache))->available();
    if (!support.ok) GTEST_SKIP() << support.reason << " (" << support.remedy << ")";
    const auto library = find_cuda_library({}, CudaLibrary::kCupti);
    if (!library) GTEST_SKIP() << library.error().to_string();
    auto clock = open_cupti_clock(*library);
    ASSERT_TRUE(clock) << clock.error().to_string();
    cupti_ = *std::move(clock);
    CudaKernelsTest::SetUp();
  }

  // Medians of the empty kernel and the copy.
  std::pair<double, double> medians(DeviceClock& clock, const LoadedKernels& kernels) {
    DeviceMemory data = memory(2 << 20);
    LaunchPlan nothing, copy;
    nothing.steps.push_back(PlannedLaunch{.kernel = "do_nothing", .block = {32, 1, 1}});
    const int32_t count = (1 << 20) / 16;
    std::vector<std::byte> count_bytes(sizeof count);
    std::memcpy(count_bytes.data(), &count, sizeof count);
    copy.steps.push_back(PlannedLaunch{
        .kernel = "copy_vectors",
        .grid = {count / 256, 1, 1},
        .block = {256, 1, 1},
        .arguments = {{FibPlanPointer{FIB_SPACE_WORKSPACE, 0, 0}},
                      {FibPlanPointer{FIB_SPACE_WORKSPACE, 0, 1 << 20}},
                      {count_bytes}}});
    const PlanAddresses addresses{.workspace = data.address()};
    auto bound_nothing = BoundPlan::bind(kernels, nothing, addresses);
    auto bound_copy = BoundPlan::bind(kernels, copy, addresses);
    EXPECT_TRUE(bound_nothing && bound_copy);
    std::vector<double> times[2];
    for (int i = 0; i < 500; ++i) {
      for (const BoundPlan* plan : {&*bound_nothing, &*bound_copy}) {
        EXPECT_TRUE(clock.begin_call(context_->stream()));
        EXPECT_TRUE(plan->replay(context_->stream()));
        EXPECT_TRUE(clock.end_call(context_->stream()));
        EXPECT_TRUE(context_->wait(5.0));
      }
    }
    const auto records = clock.collect();
    EXPECT_TRUE(records && records->size() == 1000);
    for (size_t i = 0; i < records->size(); ++i) times[i % 2].push_back((*records)[i].time_ns);
    return {median_interval(times[0]).median, median_interval(times[1]).median};
  }

  std::unique_ptr<DeviceClock> cupti_;
};

TEST_F(CudaClockTest, CuptiAndEventsMeasureTheSameKernels) {
  const CudaRunnerOptions options = cuda_options(kTestCache);
  const auto nvrtc = find_cuda_library({}, CudaLibrary::kNvrtc);
  ASSERT_TRUE(nvrtc);
  NvrtcFarm farm({.worker_executable = FIB_TEST_WORKER, .library = *nvrtc});
  const auto source = read_file(kSource / "tests/runners/cuda_candidates/clock.cu");
  ASSERT_TRUE(source);
  const auto compiled = farm.compile({.entry = {"clock.cu", *source},
                                      .options = {"-arch=" + context_->facts().architecture},
                                      .name_expressions = {"do_nothing", "copy_vectors"}},
                                     60.0);
  ASSERT_TRUE(compiled) << compiled.error().to_string();
  ASSERT_TRUE(compiled->ok) << compiled->log;
  auto kernels = LoadedKernels::load(context_->driver_ptr(), std::as_bytes(std::span(compiled->cubin)),
                                     compiled->lowered);
  ASSERT_TRUE(kernels) << kernels.error().to_string();
  const auto by_cupti = medians(*cupti_, *kernels);
  const auto by_events = medians(*make_event_clock(context_->driver()), *kernels);
  printf("runner do_nothing %.0f ns, copy_vectors %.0f ns; by events %.0f ns, %.0f ns\n",
         by_cupti.first, by_cupti.second, by_events.first, by_events.second);
  EXPECT_GT(by_cupti.first, 300.0);
  EXPECT_LT(by_cupti.first, by_cupti.second);
  EXPECT_LE(by_cupti.second, by_events.second);  // events include the launch
}

}  // namespace
}  // namespace fib
