// <fib/device/...> on a card: conversions against signatures/base/dtype.h, reductions and products
// against plain loops. Skips without one; that each header compiles alone is cuda_nvrtc_test's.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>

#include "harness/abi/fib/device/stream.h"
#include "runners/cuda/device_context.h"
#include "runners/cuda/nvrtc_worker.h"
#include "runners/launch/replayer.h"
#include "signatures/base/dtype.h"
#include "tests/runners/cuda_fixture.h"

namespace fib {
namespace {

constexpr size_t kMemoryBytes = 1 << 20;
constexpr int64_t kResult = kMemoryBytes / 2;  // what kernels write lies from here on

FibPlanPointer at(int64_t offset) { return {FIB_SPACE_WORKSPACE, 0, offset}; }
PlannedArgument number(int32_t value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return {bytes};
}

class CudaDeviceLibraryTest : public testing::Test {
 protected:
  void SetUp() override {
    const Support support = make_cuda_runner(cuda_options(kTestCache))->available();
    if (!support.ok) GTEST_SKIP() << support.reason << " (" << support.remedy << ")";
    auto driver = CudaDriver::open();
    ASSERT_TRUE(driver) << driver.error().to_string();
    auto context = DeviceContext::open(*driver, 0);
    ASSERT_TRUE(context) << context.error().to_string();
    context_ = *std::move(context);
    memory_.emplace(context_->driver());
    ASSERT_TRUE(memory_->reserve(kMemoryBytes));
  }

  // Runs a plan of kernels of library.cu over kMemoryBytes that begin with `input`, and returns
  // `count` values from kResult on.
  template <class T, class Input>
  std::vector<T> run(const std::vector<PlannedLaunch>& launches, const std::vector<Input>& input,
                     size_t count) {
    LaunchPlan plan;
    std::vector<std::string> names;
    for (const PlannedLaunch& launch : launches) {
      plan.steps.push_back(launch);
      if (std::find(names.begin(), names.end(), launch.kernel) == names.end()) {
        names.push_back(launch.kernel);
      }
    }
    const LoadedKernels* const kernels = load(names);
    if (!kernels) return std::vector<T>(count);
    std::vector<std::byte> bytes(kMemoryBytes);
    std::memcpy(bytes.data(), input.data(), input.size() * sizeof(Input));
    const CudaDriver& device = context_->driver();
    device.cuMemcpyHtoDAsync(memory_->address(), bytes.data(), kMemoryBytes, context_->stream());
    EXPECT_TRUE(kernels->allow(plan));
    const auto bound = BoundPlan::bind(*kernels, plan, {.workspace = memory_->address()});
    EXPECT_TRUE(bound) << bound.error().to_string();
    if (!bound) return std::vector<T>(count);
    EXPECT_TRUE(bound->replay(context_->stream()));
    device.cuMemcpyDtoHAsync(bytes.data(), memory_->address(), kMemoryBytes, context_->stream());
    EXPECT_TRUE(context_->wait(10.0));
    std::vector<T> result(count);
    std::memcpy(result.data(), bytes.data() + kResult, count * sizeof(T));
    return result;
  }
  template <class T, class Input>
  std::vector<T> run(const PlannedLaunch& launch, const std::vector<Input>& input, size_t count) {
    return run<T>(std::vector<PlannedLaunch>{launch}, input, count);
  }

 private:
  const LoadedKernels* load(const std::vector<std::string>& names) {
    const auto nvrtc = find_cuda_library({}, CudaLibrary::kNvrtc);
    const auto source = read_file(kSource / "tests/runners/cuda_candidates/library.cu");
    EXPECT_TRUE(nvrtc && source);
    if (!nvrtc || !source) return nullptr;
    NvrtcFarm farm({.worker_executable = FIB_TEST_WORKER, .library = *nvrtc});
    const auto compiled =
        farm.compile({.entry = {"library.cu", *source},
                      .options = {"-arch=" + context_->facts().architecture, "-std=c++17",
                                  "-default-device", "-I" + (kSource / "harness/abi").string()},
                      .name_expressions = names},
                     60.0);
    EXPECT_TRUE(compiled && compiled->ok)
        << (compiled ? compiled->log : compiled.error().to_string());
    if (!compiled || !compiled->ok) return nullptr;
    auto kernels = LoadedKernels::load(
        context_->driver_ptr(), std::as_bytes(std::span(compiled->cubin)), compiled->lowered);
    EXPECT_TRUE(kernels) << kernels.error().to_string();
    if (!kernels) return nullptr;
    kernels_.push_back(std::make_unique<LoadedKernels>(*std::move(kernels)));
    return kernels_.back().get();
  }

  std::unique_ptr<DeviceContext> context_;
  std::optional<DeviceMemory> memory_;
  std::vector<std::unique_ptr<LoadedKernels>> kernels_;
};

void expect_same(float device, float host, const std::string& what) {
  if (std::isnan(host)) {
    EXPECT_TRUE(std::isnan(device)) << what << ": " << device;
  } else {
    EXPECT_EQ(device, host) << what;
  }
}

TEST_F(CudaDeviceLibraryTest, EveryByteIsDecodedAsOnTheHost) {
  const auto values =
      run<float>({.kernel = "decode_bytes", .block = {256, 1, 1}, .arguments = {{at(kResult)}}},
                 std::vector<int>{}, 3 * 256);
  for (int code = 0; code < 256; ++code) {
    const std::string name = "code " + std::to_string(code);
    const auto byte = static_cast<uint8_t>(code);
    expect_same(values[code], fp8_e4m3fn_to_float(byte), "e4m3 " + name);
    expect_same(values[256 + code], fp8_e5m2_to_float(byte), "e5m2 " + name);
    expect_same(values[512 + code], code == 255 ? std::nanf("") : std::ldexp(1.0f, code - 127),
                "e8m0 " + name);
  }
}

TEST_F(CudaDeviceLibraryTest, WordsAreUnpackedAsOnTheHost) {
  std::vector<uint32_t> words(256);
  for (uint32_t i = 0; i < words.size(); ++i) words[i] = i * 0x9E3779B9u + i;
  const auto values = run<float>(
      {.kernel = "decode_words", .block = {256, 1, 1}, .arguments = {{at(0)}, {at(kResult)}}},
      words, words.size() * 24);
  for (size_t i = 0; i < words.size(); ++i) {
    const std::array<int8_t, 8> integers = unpack_int4(words[i]);
    for (size_t j = 0; j < 24; ++j) {
      const auto byte = static_cast<uint8_t>(words[i] >> j % 4 * 8);
      const float host = j < 8    ? integers[j]
                         : j < 16 ? fp4_e2m1_to_float(words[i] >> (j - 8) * 4 & 0xF)
                         : j < 20 ? fp8_e4m3fn_to_float(byte)
                                  : fp8_e5m2_to_float(byte);
      expect_same(values[i * 24 + j], host,
                  "word " + std::to_string(i) + ", value " + std::to_string(j));
    }
  }
}

TEST_F(CudaDeviceLibraryTest, HalvesOfWordsAreUnpackedAsOnTheHost) {
  std::vector<uint32_t> words(256);
  for (uint32_t i = 0; i < words.size(); ++i) words[i] = i * 0x9E3779B9u + i;
  const auto values = run<float>(
      {.kernel = "decode_halves", .block = {256, 1, 1}, .arguments = {{at(0)}, {at(kResult)}}},
      words, words.size() * 8);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], unpack_int4(words[i / 8])[i % 8]) << "value " << i;
  }
}

TEST_F(CudaDeviceLibraryTest, ValuesAreRoundedAsOnTheHost) {
  std::vector<float> values = {0.0f,     -0.0f, 1.0f,   448.0f,   464.0f,   465.0f, 57344.0f,
                               61440.0f, 1e30f, -1e30f, 65504.0f, 65519.0f, 1e-8f,  NAN};
  while (values.size() < 4096) {  // all signs and magnitudes, ties among them
    const auto i = static_cast<uint32_t>(values.size());
    const uint32_t bits = (i * 0x9E3779B9u & 0x807FFFFFu) | (96 + i % 48) << 23;
    float value;
    const uint32_t shortened = i % 3 == 0   ? bits & 0xFFFF8000u
                               : i % 3 == 1 ? bits & 0xFFF80000u
                                            : bits;
    std::memcpy(&value, &shortened, sizeof value);
    values.push_back(value);
  }
  const auto codes = run<uint16_t>({.kernel = "encode",
                                    .grid = {16, 1, 1},
                                    .block = {256, 1, 1},
                                    .arguments = {{at(0)}, {at(kResult)}}},
                                   values, values.size() * 6);
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    const std::string name = std::to_string(value);
    const uint16_t* const code = &codes[i * 6];
    expect_same(bf16_to_float(code[0]), bf16_to_float(float_to_bf16(value)), "bf16 " + name);
    expect_same(fp16_to_float(code[1]), fp16_to_float(float_to_fp16(value)), "fp16 " + name);
    expect_same(fp8_e4m3fn_to_float(static_cast<uint8_t>(code[2])),
                fp8_e4m3fn_to_float(float_to_fp8_e4m3fn(value)), "e4m3 " + name);
    expect_same(fp8_e5m2_to_float(static_cast<uint8_t>(code[3])),
                fp8_e5m2_to_float(float_to_fp8_e5m2(value)), "e5m2 " + name);
    expect_same(bf16_to_float(code[4]), bf16_to_float(float_to_bf16(value)), "pair " + name);
    expect_same(bf16_to_float(code[5]), bf16_to_float(float_to_bf16(-value)), "pair " + name);
  }
}

TEST_F(CudaDeviceLibraryTest, ReductionsAgreeWithLoops) {
  const int blocks = 4, threads = 256, count = blocks * threads;
  std::vector<float> values(count);
  for (int i = 0; i < count; ++i) values[i] = static_cast<float>(i * 7919 % 201 - 150);
  values[300] = values[301] = 0.0f;  // blocks' maxima are 50, found several times
  const auto results = run<float>({.kernel = "reduce",
                                   .grid = {4, 1, 1},
                                   .block = {256, 1, 1},
                                   .cluster = {4, 1, 1},
                                   .arguments = {{at(0)}, {at(kResult)}}},
                                  values, count * 5);
  const auto sum = [&](int begin, int end) {
    double total = 0.0;
    for (int i = begin; i < end; ++i) total += values[i];
    return static_cast<float>(total);
  };
  const auto first_largest = [&](int begin, int end) {
    return static_cast<float>(std::max_element(values.begin() + begin, values.begin() + end) -
                              values.begin());
  };
  for (int i = 0; i < count; ++i) {
    const float* const result = &results[i * 5];
    const int lanes = i / 8 * 8, block = i / threads * threads;
    ASSERT_EQ(result[0], sum(lanes, lanes + 8)) << i;
    ASSERT_EQ(result[1], sum(block, block + threads)) << i;
    ASSERT_EQ(result[2], sum(0, count)) << i;
    ASSERT_EQ(result[3], first_largest(block, block + threads)) << i;
    ASSERT_EQ(result[4], first_largest(0, count)) << i;
  }
}

// Small integers, whose products and sums are exact.
std::vector<uint16_t> small_integers(DType dtype, int count, int salt) {
  std::vector<uint16_t> values(count);
  for (int i = 0; i < count; ++i) {
    const float value = static_cast<float>((i * 31 + salt + i / 7) % 13 - 6);
    values[i] = dtype == DType::kBFloat16 ? float_to_bf16(value) : float_to_fp16(value);
  }
  return values;
}

float dot(DType dtype, const uint16_t* a, const uint16_t* b, int depth) {
  float sum = 0.0f;
  for (int k = 0; k < depth; ++k) {
    sum += dtype == DType::kBFloat16 ? bf16_to_float(a[k]) * bf16_to_float(b[k])
                                     : fp16_to_float(a[k]) * fp16_to_float(b[k]);
  }
  return sum;
}

TEST_F(CudaDeviceLibraryTest, WarpProductsAgreeWithALoop) {
  std::vector<uint16_t> operands = small_integers(DType::kBFloat16, 16 * 16 + 8 * 16, 3);
  const auto d = run<float>({.kernel = "multiply",
                             .block = {32, 1, 1},
                             .arguments = {{at(0)}, {at(16 * 16 * 2)}, {at(kResult)}}},
                            operands, 2 * 16 * 8);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      const float expected =
          dot(DType::kBFloat16, &operands[row * 16], &operands[256 + column * 16], 16);
      EXPECT_EQ(d[row * 8 + column], expected) << row << ", " << column;
      EXPECT_EQ(d[128 + row * 8 + column], expected) << row << ", " << column << ", transposed";
    }
  }
}

TEST_F(CudaDeviceLibraryTest, MatrixIsTransposed) {
  std::vector<uint16_t> matrix(64);
  for (int i = 0; i < 64; ++i) matrix[i] = static_cast<uint16_t>(i * 1021);
  const auto result = run<uint16_t>(
      {.kernel = "transpose", .block = {32, 1, 1}, .arguments = {{at(0)}, {at(kResult)}}}, matrix,
      64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(result[i], matrix[i % 8 * 8 + i / 8]) << i;
}

FibPlanTensorMap swizzled_rows(int64_t offset, int rows, DType dtype) {
  FibPlanTensorMap map{};
  map.base = at(offset);
  map.dtype = dtype == DType::kBFloat16 ? 9 : 6;
  map.rank = 2;
  map.size[0] = map.box[0] = 64;
  map.size[1] = map.box[1] = rows;
  map.stride_bytes[0] = 128;
  map.element_stride[0] = map.element_stride[1] = 1;
  map.swizzle = 3;  // CU_TENSOR_MAP_SWIZZLE_128B
  return map;
}

// The copy engine, its barriers and its swizzle are tested with them.
TEST_F(CudaDeviceLibraryTest, WarpgroupProductsAgreeWithALoop) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    for (const int columns : {8, 16, 24, 32, 48, 64, 96, 128, 256}) {
      SCOPED_TRACE(columns);
      const std::vector<uint16_t> operands = small_integers(dtype, (64 + columns) * 64, columns);
      const std::string name = "warpgroup_multiply<" + std::to_string(columns) + ", " +
                               (dtype == DType::kBFloat16 ? "true>" : "false>");
      const auto d = run<float>({.kernel = name,
                                 .block = {128, 1, 1},
                                 .shared_bytes = (64u + columns) * 128 + 1024,
                                 .arguments = {{swizzled_rows(0, 64, dtype)},
                                               {swizzled_rows(64 * 128, columns, dtype)},
                                               {at(kResult)}}},
                                operands, 64 * columns);
      for (int i = 0; i < 64 * columns; ++i) {
        const int row = i / columns, column = i % columns;
        ASSERT_EQ(d[i], dot(dtype, &operands[row * 64], &operands[(64 + column) * 64], 64))
            << row << ", " << column;
      }
    }
  }
}

TEST_F(CudaDeviceLibraryTest, WarpgroupProductsFromRegistersAgreeWithALoop) {
  for (const int columns : {8, 16, 24, 32, 48, 64, 96, 128, 256}) {
    SCOPED_TRACE(columns);
    const std::vector<uint16_t> operands =
        small_integers(DType::kBFloat16, (64 + columns) * 64, columns);
    const auto d =
        run<float>({.kernel = "warpgroup_multiply_registers<" + std::to_string(columns) + ">",
                    .block = {128, 1, 1},
                    .shared_bytes = static_cast<uint32_t>(columns) * 128 + 1024,
                    .arguments = {{at(0)}, {at(64 * 128)}, {at(kResult)}}},
                   operands, 64 * columns);
    for (int i = 0; i < 64 * columns; ++i) {
      const int row = i / columns, column = i % columns;
      ASSERT_EQ(d[i], dot(DType::kBFloat16, &operands[row * 64], &operands[(64 + column) * 64], 64))
          << row << ", " << column;
    }
  }
}

TEST_F(CudaDeviceLibraryTest, StreamedProductsAgreeWithALoop) {
  const int depth = 2 * 128 * 2 + 80;  // the ring twice round, and a part of a step
  const std::tuple<int, int, int> shapes[] = {
      {16, 8, StreamShape<16, 8, 128, 2>::kSharedBytes},
      {16, 16, StreamShape<16, 16, 128, 2>::kSharedBytes},
      {64, 8, StreamShape<64, 8, 128, 2>::kSharedBytes},
      {64, 64, StreamShape<64, 64, 128, 2>::kSharedBytes},
      {128, 64, StreamShape<128, 64, 128, 2>::kSharedBytes}};
  for (const auto& [rows, tokens, shared_bytes] : shapes) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(tokens));
    const auto operands = small_integers(DType::kBFloat16, (rows + tokens) * depth, rows);
    const auto products = run<float>(
        {.kernel = "stream<" + std::to_string(rows) + ", " + std::to_string(tokens) + ">",
         .block = {kStreamThreads, 1, 1},
         .shared_bytes = static_cast<uint32_t>(shared_bytes),
         .arguments = {{at(0)}, {at(rows * depth * 2)}, {at(kResult)}, number(depth)}},
        operands, rows * tokens);
    for (int i = 0; i < rows * tokens; ++i) {
      const int token = i / rows, row = i % rows;
      ASSERT_EQ(products[i], dot(DType::kBFloat16, &operands[row * depth],
                                 &operands[(rows + token) * depth], depth))
          << token << ", " << row;
    }
  }
}

TEST_F(CudaDeviceLibraryTest, CopiesBringWhatLiesInsideAndZeros) {
  std::vector<uint32_t> words(256);
  for (uint32_t i = 0; i < words.size(); ++i) words[i] = i * 2654435761u + 1;
  const auto copied =
      run<uint32_t>({.kernel = "copy", .block = {64, 1, 1}, .arguments = {{at(0)}, {at(kResult)}}},
                    words, words.size());
  for (int i = 0; i < 256; ++i) {
    const bool is_outside = i >= 128 && i < 192 && i / 4 % 2 == 1;
    EXPECT_EQ(copied[i], is_outside ? 0u : words[i]) << i;
  }
}

// Every pair of a known expert in exactly one tile of its expert, and -1 behind the last.
TEST_F(CudaDeviceLibraryTest, PairsAreListedByExpert) {
  for (const char* kernel : {"list_tiles", "list_few_tiles"}) {
    for (const int pairs : {1, 8, 63, 64}) {
      SCOPED_TRACE(kernel + std::string(", pairs: ") + std::to_string(pairs));
      std::vector<int32_t> ids(pairs);
      for (int i = 0; i < pairs; ++i) ids[i] = i % 9 == 8 ? -1 : i % 3 == 0 ? 39 : i * 5 % 40;
      const auto lists = run<int32_t>(
          {.kernel = kernel,
           .block = {64, 1, 1},
           .arguments =
               {{at(0)}, number(pairs), {at(kResult)}, {at(kResult + 256)}, {at(kResult + 1024)}}},
          ids, 256 + 64 * 8);
      const int count = lists[0];
      std::map<int, int> of_expert;
      for (const int id : ids) of_expert[id] += id >= 0;
      int expected_tiles = 0;
      for (const auto& [expert, n] : of_expert) expected_tiles += (n + 7) / 8;
      ASSERT_EQ(count, expected_tiles);
      std::vector<int> seen(pairs);
      for (int tile = 0; tile < count; ++tile) {
        bool is_over = false;
        for (int i = 0; i < 8; ++i) {
          const int pair = lists[256 + tile * 8 + i];
          EXPECT_TRUE(pair < 0 || !is_over);
          is_over = pair < 0;
          if (is_over) continue;
          ASSERT_LT(pair, pairs);
          EXPECT_EQ(ids[pair], lists[64 + tile]);
          ++seen[pair];
        }
      }
      for (int i = 0; i < pairs; ++i) EXPECT_EQ(seen[i], ids[i] >= 0) << i;
    }
  }
}

TEST_F(CudaDeviceLibraryTest, HeadsAreTurnedByPairs) {
  // Small whole numbers: every product and sum is exact in bfloat16.
  constexpr int kHeads = 64, kDim = 16, kHalf = kDim / 2;
  constexpr int64_t kWeight = 4096, kTable = 8192;
  std::vector<std::byte> input(kTable + kDim * 4);
  const auto head_at = [](int head, int i) { return double((head * 5 + i * 3) % 7 - 3); };
  const auto weight_at = [](int i) { return double(2 + i % 3); };
  const auto table_at = [](int i) { return double(i % 4 - 1); };
  for (int head = 0; head < kHeads; ++head) {
    for (int i = 0; i < kDim; ++i) {
      store_element(DType::kBFloat16, input.data(), head * kDim + i, head_at(head, i));
    }
  }
  for (int i = 0; i < kDim; ++i) {
    store_element(DType::kBFloat16, input.data() + kWeight, i, weight_at(i));
    store_element(DType::kFloat32, input.data() + kTable, i, table_at(i));
  }
  const auto turned =
      run<uint16_t>({.kernel = "turn_heads",
                     .block = {2 * kHeads, 1, 1},
                     .arguments = {{at(0)}, {at(kWeight)}, {at(kTable)}, {at(kResult)}}},
                    input, kHeads * 2 * kDim);
  for (int head = 0; head < kHeads; ++head) {
    for (const bool is_scaled : {false, true}) {
      const auto x = [&](int i) {
        return head_at(head, i) * (is_scaled ? 0.5 * weight_at(i) : 1.0);
      };
      for (int i = 0; i < kDim; ++i) {
        const double cosine = table_at(i % kHalf), sine = table_at(kHalf + i % kHalf);
        const double expected =
            i < kHalf ? x(i) * cosine - x(i + kHalf) * sine : x(i) * cosine + x(i - kHalf) * sine;
        const int64_t index = (head * 2 + is_scaled) * kDim + i;
        EXPECT_EQ(load_element(DType::kBFloat16, reinterpret_cast<const std::byte*>(turned.data()),
                               index),
                  expected)
            << "head " << head << ", element " << i << (is_scaled ? ", scaled" : "");
      }
    }
  }
}

TEST_F(CudaDeviceLibraryTest, DependentLaunchesWaitForOneAnother) {
  const PlannedLaunch launch{
      .kernel = "write_late", .is_programmatic = true, .arguments = {{at(kResult)}}};
  EXPECT_EQ(run<int32_t>(std::vector<PlannedLaunch>(5, launch), std::vector<int>{}, 1)[0], 5);
}

}  // namespace
}  // namespace fib
