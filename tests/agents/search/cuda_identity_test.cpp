// Which changes of a device solution make another program. Skips without libnvrtc; needs no card.

#include <gmock/gmock.h>

#include "agents/search/code_identity.h"
#include "runners/cuda/cubin.h"
#include "runners/cuda/cuda_build.h"
#include "tests/runners/cuda_fixture.h"
#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

class CudaIdentityTest : public testing::Test {
 protected:
  void SetUp() override {
    if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
      GTEST_SKIP() << library.error().to_string();
    }
    builder_ = open_builder(cache_.path());
  }

  static std::unique_ptr<CudaBuilder> open_builder(const std::filesystem::path& cache) {
    const CudaRunnerOptions options = cuda_options(cache);
    auto builder = CudaBuilder::open(
        {.runner = options.runner, .device_source_folder = options.device_source_folder});
    EXPECT_TRUE(builder) << builder.error().to_string();
    return builder ? *std::move(builder) : nullptr;
  }

  ArtifactPtr build(const Solution& solution) {
    const auto outcome = builder_->build({.solution = solution,
                                          .signature = **catalog_.find("rmsnorm_h4096"),
                                          .architecture = "sm_90a"});
    EXPECT_TRUE(outcome && outcome->artifact)
        << (outcome ? outcome->failure_log : outcome.error().to_string());
    return outcome ? outcome->artifact : nullptr;
  }
  CodeIdentity identity(const Solution& solution) {
    const ArtifactPtr artifact = build(solution);
    if (!artifact) return {};
    const auto identity = code_identity(*artifact);
    EXPECT_TRUE(identity) << identity.error().to_string();
    return identity ? *identity : CodeIdentity{};
  }

  // `file` 0 is kernel.cu, 1 plan.cpp.
  static Solution edited(size_t file, const std::string& from, const std::string& to) {
    Solution solution = candidate({});
    std::string& code = solution.sources.at(file).content;
    const size_t at = code.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    code.replace(at, from.size(), to);
    return solution;
  }

  ScratchFolder cache_;
  Catalog catalog_ = builtin_catalog();
  std::unique_ptr<CudaBuilder> builder_;
};

TEST_F(CudaIdentityTest, NamesCommentsAndUnusedCodeAreNothing) {
  const CodeIdentity honest = identity(candidate({}));
  EXPECT_EQ(honest.key.size(), 64u);
  EXPECT_GT(honest.behaviour.registers, 8);
  EXPECT_GT(honest.behaviour.code_bytes, 256);
  EXPECT_GE(honest.behaviour.shared_bytes, 128);
  EXPECT_EQ(honest.behaviour.spilled_bytes, 0);
  EXPECT_EQ(identity(edited(0, "typedef", "// a line more\n\ntypedef")).key, honest.key);
  EXPECT_EQ(identity(edited(0, "const int row = blockIdx.x;",
                            "const int line = blockIdx.x;\n  const int row = line;"))
                .key,
            honest.key);
  EXPECT_EQ(identity(edited(0, "typedef",
                            "__device__ int unused(int x) { return x; }\n"
                            "__global__ void unlisted(int* x) { *x = 1; }\ntypedef"))
                .key,
            honest.key);
  EXPECT_EQ(identity(edited(1, "static void", "// nothing new\nstatic void")).key, honest.key);
}

TEST_F(CudaIdentityTest, AnotherFolderIsNothing) {
  const std::string key = identity(candidate({})).key;
  const ScratchFolder elsewhere;
  builder_ = open_builder(elsewhere.path());
  EXPECT_EQ(identity(candidate({})).key, key);
}

TEST_F(CudaIdentityTest, InstructionsConstantsAndLaunchesCount) {
  const std::string honest = identity(candidate({})).key;
  std::vector<std::string> keys = {honest};
  const auto expect_new = [&](const Solution& solution) {
    keys.push_back(identity(solution).key);
    for (size_t i = 0; i + 1 < keys.size(); ++i) EXPECT_NE(keys[i], keys.back()) << i;
  };
  expect_new(candidate({"WRONG_SCALE"}));
  expect_new(edited(0, "WRONG_LAST_ROW\n",
                    "WRONG_LAST_ROW\n#endif\n#if 1\n  __syncthreads();\n"
                    "#endif\n#ifdef WRONG_LAST_ROW\n"));
  expect_new(edited(1, "grid(rows).block(256);", "grid(rows).block(512);"));
  expect_new(edited(0, "__shared__ float partial[32]", "__shared__ float partial[64]"));
  expect_new(edited(0, "__global__ void rms(", "__global__ void __launch_bounds__(256) rms("));
  expect_new(edited(0, "__global__ void rms(", "__global__ void __cluster_dims__(2) rms("));
}

TEST_F(CudaIdentityTest, VariablesAndConstantsCountByTheirValues) {
  const auto with_table = [&](const std::string& kind, const std::string& values) {
    Solution solution = edited(0, "typedef", kind + " float table[4] = {" + values + "};\ntypedef");
    std::string& code = solution.sources.at(0).content;
    const std::string use = "  const int row = blockIdx.x;\n";
    const size_t at = code.find(use);
    EXPECT_NE(at, std::string::npos);
    code.replace(at, use.size(), use + "  if (table[rows & 3] < 0.0f) return;\n");
    return identity(solution).key;
  };
  for (const std::string kind : {"__device__", "__constant__"}) {
    EXPECT_EQ(with_table(kind, "1, 2, 3, 4"), with_table(kind, "1, 2, 3, 2 + 2")) << kind;
    EXPECT_NE(with_table(kind, "1, 2, 3, 4"), with_table(kind, "1, 2, 3, 5")) << kind;
  }
}

TEST_F(CudaIdentityTest, WhatIsNoKernelIsAnError) {
  EXPECT_FALSE(kernel_identity({}, "rms"));
  const ArtifactPtr artifact = build(candidate({}));
  ASSERT_TRUE(artifact);
  const auto binary = read_cuda_binary(*artifact);
  ASSERT_TRUE(binary);
  const auto bytes = std::as_bytes(std::span(binary->cubin));
  const auto missing = kernel_identity(bytes, "nowhere");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().where, "nowhere");
  EXPECT_FALSE(kernel_identity(bytes.first(bytes.size() / 2), "rms"));
}

}  // namespace
}  // namespace fib::agents
