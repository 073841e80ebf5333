// Compiling for a card that needn't be there. Skips without libnvrtc.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "runners/cuda/cubin.h"
#include "runners/cuda/cuda_build.h"
#include "runners/cuda/skeleton.h"
#include "tests/runners/cuda_fixture.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

using testing::HasSubstr;

class CudaNvrtcTest : public testing::Test {
 protected:
  void SetUp() override {
    if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
      GTEST_SKIP() << library.error().to_string();
    }
    const CudaRunnerOptions options = cuda_options(cache_.path());
    auto builder = CudaBuilder::open(
        {.runner = options.runner, .device_source_folder = options.device_source_folder});
    ASSERT_TRUE(builder) << builder.error().to_string();
    builder_ = *std::move(builder);
  }

  BuildOutcome build(const Solution& solution, double timeout_s = 120.0) {
    auto outcome = builder_->build({.solution = solution,
                                    .signature = **catalog_.find("rmsnorm_h4096"),
                                    .architecture = "sm_90a",
                                    .timeout_s = timeout_s});
    EXPECT_TRUE(outcome) << outcome.error().to_string();
    return outcome ? *outcome : BuildOutcome{};
  }

  static bool is_stateful(const BuildOutcome& outcome) {
    EXPECT_TRUE(outcome.artifact) << outcome.failure_log;
    if (!outcome.artifact) return true;
    const auto binary = read_cuda_binary(*outcome.artifact);
    EXPECT_TRUE(binary) << binary.error().to_string();
    return !binary || has_device_variables(std::as_bytes(std::span(binary->cubin)));
  }

  static Solution with_kernel(const std::string& source, std::vector<std::string> kernels) {
    Solution solution = candidate({});
    solution.sources[0].content = source;
    solution.fib["kernels"] = std::move(kernels);
    return solution;
  }

  ScratchFolder cache_;
  Catalog catalog_ = builtin_catalog();
  std::unique_ptr<CudaBuilder> builder_;
};

TEST_F(CudaNvrtcTest, KernelsAndPlanAreBuiltOnceAndFoundAgain) {
  const BuildOutcome first = build(candidate({}));
  ASSERT_TRUE(first.artifact) << first.failure_log;
  EXPECT_FALSE(first.artifact->from_cache);
  const auto binary = read_cuda_binary(*first.artifact);
  ASSERT_TRUE(binary) << binary.error().to_string();
  EXPECT_EQ(binary->cubin.substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_EQ(binary->lowered.at(0).first, "rms");
  EXPECT_TRUE(std::filesystem::exists(binary->plan));

  const BuildOutcome second = build(candidate({}));
  ASSERT_TRUE(second.artifact);
  EXPECT_TRUE(second.artifact->from_cache);
  EXPECT_EQ(second.artifact->build_key, first.artifact->build_key);
  EXPECT_NE(build(candidate({"WRONG_SCALE"})).artifact->build_key, first.artifact->build_key);
}

TEST_F(CudaNvrtcTest, DeviceVariablesAreFound) {
  EXPECT_TRUE(is_stateful(build(candidate({"WRONG_REMEMBERS"}))));
  EXPECT_FALSE(is_stateful(build(candidate({}))));
}

// What outlives a call is memory that a kernel can write, and what lies in one section with it.
TEST_F(CudaNvrtcTest, OnlyGlobalMemoryIsState) {
  const auto is_stateful_with = [&](const std::string& declaration, const std::string& use) {
    return is_stateful(build(with_kernel(
        declaration + "\n__global__ void rms(int* p) { *p = " + use + "; }\n", {"rms"})));
  };
  EXPECT_TRUE(is_stateful_with("__device__ int v;", "v++"));
  EXPECT_TRUE(is_stateful_with("static __device__ int v = 3;", "v++"));
  EXPECT_TRUE(is_stateful_with("__device__ int next() { static int v; return v++; }", "next()"));
  EXPECT_TRUE(is_stateful_with("constexpr int k = 3;", "k"));
  EXPECT_TRUE(is_stateful_with("struct Shape { static constexpr int k = 3; };", "Shape::k"));

  EXPECT_FALSE(is_stateful_with("enum : int { k = 3 };", "k"));
  EXPECT_FALSE(is_stateful_with("constexpr int k() { return 3; }", "k()"));
  EXPECT_FALSE(is_stateful_with("__device__ int f() { constexpr int k = 3; return k; }", "f()"));
  EXPECT_FALSE(is_stateful_with("__constant__ int table[4] = {1, 2, 3, 4};", "table[*p & 3]"));
  EXPECT_FALSE(is_stateful_with("__device__ int f() { __shared__ int v; return v; }", "f()"));
}

TEST_F(CudaNvrtcTest, ErrorsCarryTheAuthorsFileAndLine) {
  const BuildOutcome outcome =
      build(with_kernel("__global__ void rms() {\n  int x = nothing;\n}\n", {"rms"}));
  EXPECT_FALSE(outcome.artifact);
  EXPECT_THAT(outcome.failure_log, HasSubstr("kernel.cu(2): error"));
}

TEST_F(CudaNvrtcTest, ErrorsOfThePlanCarryFileAndLine) {
  Solution solution = candidate({});
  solution.sources[1].content = "#include <fib/plan.h>\nint x = nothing;\n";
  const BuildOutcome outcome = build(solution);
  EXPECT_FALSE(outcome.artifact);
  EXPECT_THAT(outcome.failure_log, HasSubstr("plan.cpp:2"));
}

TEST_F(CudaNvrtcTest, MissingKernelIsNamed) {
  const BuildOutcome outcome =
      build(with_kernel("__global__ void rms() {}\n", {"rms", "no_such<{hidden_size}>"}));
  EXPECT_FALSE(outcome.artifact);
  EXPECT_THAT(outcome.failure_log, HasSubstr("no kernel 'no_such<4096>'"));
}

TEST_F(CudaNvrtcTest, UnknownAxisInAKernelsNameIsNamed) {
  const BuildOutcome outcome = build(with_kernel("__global__ void rms() {}\n", {"rms<{width}>"}));
  EXPECT_FALSE(outcome.artifact);
  EXPECT_THAT(outcome.failure_log, HasSubstr("no const axis 'width'"));
}

// A product whose accumulators are read before it is waited for, an array that is indexed at run
// time, and more values than there are registers.
constexpr const char* kSlowKernels = R"(
template <int N> __global__ void __launch_bounds__(128) early(float* p, unsigned long long a) {
  float d[4] = {0, 0, 0, 0};
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  for (int i = 0; i < N; ++i) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, %4, %4, 1, 1, 1, 0, 0;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a));
  }
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  p[threadIdx.x] = d[0] + d[1] + d[2] + d[3];
}
__global__ void turns(float* p, int n) {
  float a[64];
  for (int i = 0; i < 64; ++i) a[i] = p[i];
  for (int i = 0; i < n; ++i) a[(i * n) & 63] += a[(i + n) & 63];
  for (int i = 0; i < 64; ++i) p[i] = a[i];
}
__global__ void __launch_bounds__(1024) spills(float* p, int n) {
  float a[128];
  for (int i = 0; i < 128; ++i) a[i] = p[i * 1024 + threadIdx.x];
  for (int r = 0; r < n; ++r) {
#pragma unroll
    for (int i = 0; i < 128; ++i) a[i] = a[i] * a[(i * 37 + 11) % 128] + p[r];
  }
  for (int i = 0; i < 128; ++i) p[i * 1024 + threadIdx.x] = a[i];
}
)";

TEST_F(CudaNvrtcTest, WhatCostsTimeIsSaidAndOtherwiseNothing) {
  const BuildOutcome slow = build(with_kernel(kSlowKernels, {"early<4>", "turns", "spills"}));
  ASSERT_TRUE(slow.artifact) << slow.failure_log;
  const std::string& log = slow.artifact->log;
  EXPECT_THAT(log, HasSubstr("warpgroup.wait is injected by compiler"));
  EXPECT_THAT(log, HasSubstr("in function 'early<4>'\n")) << "named as the author does";
  EXPECT_THAT(log, HasSubstr("turns: 256 bytes of local memory a thread"));
  EXPECT_THAT(log, testing::ContainsRegex("spills: 64 registers, [1-9][0-9]* bytes spilled"));
  EXPECT_THAT(log, testing::Not(HasSubstr("Used "))) << "statistics are no messages";
  EXPECT_EQ(build(with_kernel(kSlowKernels, {"early<4>", "turns", "spills"})).artifact->log, log)
      << "from the cache too";

  const BuildOutcome clean = build(candidate({}));
  ASSERT_TRUE(clean.artifact) << clean.failure_log;
  EXPECT_EQ(clean.artifact->log, "");
}

TEST(NvrtcLog, ResourcesAreTakenOutAndWhatCostsTimeStays) {
  const std::string loss =
      "ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are "
      "serialized due to insufficient register resources in the function 'k'\n";
  std::string log =
      "kernel.cu(3): warning #177-D: unused\n"
      "ptxas info    : (C7517) warpgroup.wait is injected in around line 763 by compiler\n"
      "ptxas info    : (C7517) warpgroup.wait is injected in around line 801 by compiler\n"
      "ptxas info    : (C7519) warpgroup.arrive is injected in around line 765 by compiler\n" +
      loss +
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'k' for 'sm_90a'\n"
      "ptxas info    : Function properties for k\n"
      "ptxas         .     496 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads\n"
      "ptxas info    : Used 64 registers, used 1 barriers, 560 bytes cumulative stack size, 2048 "
      "bytes smem\n"
      "ptxas info    : Compile time = 40.820 ms\n"
      "ptxas info    : Function properties for called_by_k\n"
      "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads\n";
  const std::vector<KernelResources> kernels = extract_resources(log);
  EXPECT_EQ(log,
            "kernel.cu(3): warning #177-D: unused\n"
            "ptxas info    : (C7517) warpgroup.wait is injected by compiler\n" +
                loss);
  ASSERT_EQ(kernels.size(), 1u);
  EXPECT_EQ(kernels[0].symbol, "k");
  EXPECT_EQ(kernels[0].registers, 64);
  EXPECT_EQ(kernels[0].spill_bytes, 28) << "its own, and of what it calls";
  EXPECT_EQ(kernels[0].stack_bytes, 560);
  EXPECT_EQ(kernels[0].static_shared_bytes, 2048);
}

TEST_F(CudaNvrtcTest, EndlessCompileIsKilledAndTheFarmGoesOn) {
  const std::string bomb =
      "template <int N, int M> struct Bomb { static constexpr long v = Bomb<N - 1, M>::v + "
      "Bomb<N - 1, M + (1 << N)>::v; };\n"
      "template <int M> struct Bomb<0, M> { static constexpr long v = M; };\n"
      "__global__ void rms(long* out) { *out = Bomb<28, 0>::v; }\n";
  const BuildOutcome outcome = build(with_kernel(bomb, {"rms"}), 3.0);
  EXPECT_FALSE(outcome.artifact);
  EXPECT_TRUE(outcome.timed_out) << outcome.failure_log;
  EXPECT_THAT(outcome.failure_log, HasSubstr("kernel.cu: not compiled after 3 s"));
  EXPECT_TRUE(build(candidate({})).artifact);
}

TEST_F(CudaNvrtcTest, HarnessKernelsCompile) {
  const auto cubin = builder_->harness_kernels("sm_90a");
  ASSERT_TRUE(cubin) << cubin.error().to_string();
  EXPECT_FALSE(has_device_variables(std::as_bytes(std::span(*cubin))));
}

// "gemm/gemm-mma", ...: below leaderboard/solutions/cuda.
std::vector<std::string> house_solutions() {
  const std::filesystem::path root = kSource / "leaderboard/solutions/cuda";
  std::vector<std::string> names;
  for (const auto& family : std::filesystem::directory_iterator(root)) {
    for (const auto& folder : std::filesystem::directory_iterator(family)) {
      names.push_back(folder.path().lexically_relative(root));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class HouseNvrtcTest : public CudaNvrtcTest {
 protected:
  void expect_stateless(const std::string& name, const std::string& architecture) {
    SCOPED_TRACE(name);
    const auto solution = read_solution(kSource / "leaderboard/solutions/cuda" / name);
    ASSERT_TRUE(solution) << solution.error().to_string();
    SignaturePtr fitting;
    for (const SignaturePtr& signature : catalog_.all()) {
      if (!fitting && solution_fits(*solution, *signature)) fitting = signature;
    }
    ASSERT_TRUE(fitting);
    const auto outcome = builder_->build(
        {.solution = *solution, .signature = *fitting, .architecture = architecture});
    ASSERT_TRUE(outcome) << outcome.error().to_string();
    EXPECT_FALSE(is_stateful(*outcome));
  }
};

class HouseSolutionNvrtcTest : public HouseNvrtcTest,
                               public testing::WithParamInterface<std::string> {};

// What the house enters must compile for Hopper, here and without a card, and keep nothing.
TEST_P(HouseSolutionNvrtcTest, CompilesWithoutState) {
  expect_stateless(GetParam(), "sm_90a");
}

// Its products by warpgroups don't compile for other cards; those by warps stand in for them.
TEST_F(HouseNvrtcTest, ProductsByWarpsCompileForBlackwell) {
  for (const char* name : {"gemm_bf16/gemm-bf16-mma", "gemm_bf16_f32/gemm-bf16-f32-mma"}) {
    expect_stateless(name, "sm_100");
  }
}

INSTANTIATE_TEST_SUITE_P(All, HouseSolutionNvrtcTest, testing::ValuesIn(house_solutions()),
                         [](const auto& name) {
                           std::string identifier = name.param;
                           std::replace_if(
                               identifier.begin(), identifier.end(),
                               [](unsigned char c) { return !std::isalnum(c); }, '_');
                           return identifier;
                         });

TEST_F(CudaNvrtcTest, EachHeaderOfTheDeviceLibraryCompilesAloneWithoutState) {
  const std::filesystem::path folder = kSource / "harness/abi/fib/device";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const std::string name = file.path().filename();
    SCOPED_TRACE(name);
    EXPECT_FALSE(is_stateful(build(
        with_kernel("#include <fib/device/" + name + ">\n__global__ void rms() {}\n", {"rms"}))));
  }
}

TEST_F(CudaNvrtcTest, KernelsOfTheDeviceLibrarysTestCompileWithoutState) {
  const auto source = read_file(kSource / "tests/runners/cuda_candidates/library.cu");
  ASSERT_TRUE(source);
  EXPECT_FALSE(is_stateful(build(with_kernel(*source, {"decode_bytes",
                                                       "decode_words",
                                                       "encode",
                                                       "reduce",
                                                       "multiply",
                                                       "transpose",
                                                       "warpgroup_multiply<8, true>",
                                                       "warpgroup_multiply<16, true>",
                                                       "warpgroup_multiply<32, true>",
                                                       "warpgroup_multiply<64, true>",
                                                       "warpgroup_multiply<128, true>",
                                                       "warpgroup_multiply<256, true>",
                                                       "warpgroup_multiply<256, false>",
                                                       "copy",
                                                       "stream<16, 8>",
                                                       "stream<64, 8>",
                                                       "stream<64, 64>",
                                                       "stream<128, 64>",
                                                       "list_tiles",
                                                       "list_few_tiles",
                                                       "turn_heads",
                                                       "write_late"}))));
}

// Two families, one product: only the type of the output, in shape.h, differs.
TEST_F(CudaNvrtcTest, ProductsThatDifferInTheirOutputShareTheirSources) {
  const std::filesystem::path root = kSource / "leaderboard/solutions/cuda";
  for (const char* name : {"kernel.cu", "output.h", "plan.cpp", "streamed.h", "tiled.h"}) {
    const auto narrow = read_file(root / "gemm_bf16/gemm-bf16-hopper" / name);
    const auto wide = read_file(root / "gemm_bf16_f32/gemm-bf16-f32-hopper" / name);
    ASSERT_TRUE(narrow && wide) << name;
    EXPECT_EQ(*narrow, *wide) << name;
  }
}

Solution skeleton_solution(const Signature& signature, const ScratchFolder& folder) {
  for (const SourceFile& file : cuda_skeleton(signature)) {
    EXPECT_TRUE(write_file_atomically(folder / file.path, file.content));
  }
  auto solution = read_solution(folder.path());
  EXPECT_TRUE(solution) << solution.error().to_string();
  return *std::move(solution);
}

TEST_F(CudaNvrtcTest, SkeletonsOfEveryFamilyCompile) {
  for (const char* name :
       {"rmsnorm_h4096", "fused_add_rmsnorm_h7168", "gemm_n128_k2048",
        "gqa_paged_decode_h32_kv8_d128_ps1", "moe_int4_g32_topk4_e32_h256_i128"}) {
    SCOPED_TRACE(name);
    const ScratchFolder folder;
    const auto signature = catalog_.find(name);
    ASSERT_TRUE(signature) << signature.error().to_string();
    const auto outcome = builder_->build({.solution = skeleton_solution(**signature, folder),
                                          .signature = **signature,
                                          .architecture = "sm_90a"});
    ASSERT_TRUE(outcome) << outcome.error().to_string();
    EXPECT_FALSE(is_stateful(*outcome));
  }
}

TEST_F(CudaNvrtcTest, SkeletonOfAnUnknownSignatureIsAFrameThatCompiles) {
  const ScratchFolder folder;
  Signature signature = **catalog_.find("rmsnorm_h4096");
  signature.fib.reference = "something_new";
  const auto outcome = builder_->build({.solution = skeleton_solution(signature, folder),
                                        .signature = signature,
                                        .architecture = "sm_90a"});
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_TRUE(outcome->artifact) << outcome->failure_log;
}

}  // namespace
}  // namespace fib
