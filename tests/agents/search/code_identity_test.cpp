// Which changes of a source make another program, and which are none.

#include "agents/search/code_identity.h"

#include "runners/worker/shared_object.h"
#include "signatures/base/file.h"
#include "tests/agents/search/bench_fixture.h"

namespace fib::agents {
namespace {

class CpuIdentityTest : public CpuTest {
 protected:
  CodeIdentity identity(const Solution& solution) {
    return must(code_identity(*artifact_of(solution, *bench_signature())));
  }
};

TEST_F(CpuIdentityTest, NamesAndCommentsAndFoldersAreNothing) {
  const CodeIdentity plain = identity(house_rmsnorm("rmsnorm-plain"));
  EXPECT_EQ(plain.key.size(), 64u);
  EXPECT_GT(plain.behaviour.code_bytes, 100);
  EXPECT_EQ(identity(edited("commented", "namespace {", "// as before\nnamespace {")).key,
            plain.key);
  EXPECT_EQ(identity(edited("renamed",
                            "const float scale = 1.0f / std::sqrt(sum / kHidden + "
                            "static_cast<float>(FIB_PARAM_eps));",
                            "const float s = 1.0f / std::sqrt(sum / kHidden + "
                            "static_cast<float>(FIB_PARAM_eps));\n    const float scale = s;"))
                .key,
            plain.key);
  EXPECT_EQ(
      identity(edited("unused", "namespace {", "namespace {\nint unused(int x) { return x; }")).key,
      plain.key);
  Solution elsewhere = house_rmsnorm("rmsnorm-plain");
  elsewhere.name = "elsewhere";
  elsewhere.sources.at(0).path = "deep/down/other.cpp";
  elsewhere.fib["entry"] = "deep/down/other.cpp";
  EXPECT_EQ(identity(elsewhere).key, plain.key);
}

TEST_F(CpuIdentityTest, WhatTheProcessorDoesCounts) {
  const std::string plain = identity(house_rmsnorm("rmsnorm-plain")).key;
  EXPECT_NE(identity(edited("constant", "1.0f / std::sqrt", "1.5f / std::sqrt")).key, plain);
  EXPECT_NE(identity(edited("grain", "shape[0], 1, rows", "shape[0], 4, rows")).key, plain);
  EXPECT_NE(identity(edited("unrolled", "    for (int64_t i = 0; i < kHidden; ++i) sum",
                            "#pragma GCC unroll 8\n    for (int64_t i = 0; i < kHidden; ++i) sum"))
                .key,
            plain);
}

TEST_F(CpuIdentityTest, WhichFunctionIsTheEntryCounts) {
  const std::string code =
      "#include <fib/cpu.h>\n"
      "extern \"C\" int FIRST(const FibCall*) { return 1; }\n"
      "extern \"C\" int SECOND(const FibCall*) { return 2; }\n";
  Solution one = solution_of("rmsnorm", code), two = one;
  one.fib["flags"] = {"-DFIRST=fib_run", "-DSECOND=other"};
  two.fib["flags"] = {"-DFIRST=other", "-DSECOND=fib_run"};
  EXPECT_NE(identity(one).key, identity(two).key);
}

// An exported function's name is another matter: the linker orders its tables by it.
TEST_F(CpuIdentityTest, NamesOfOwnFunctionsAreNothing) {
  const std::string code =
      "#include <fib/cpu.h>\n"
      "int state;\n"
      "__attribute__((noinline)) static int NAME(const FibCall* call) {\n"
      "  return call->num_inputs + state;\n"
      "}\n"
      "extern \"C\" int fib_run(const FibCall* call) { return NAME(call); }\n";
  Solution one = solution_of("rmsnorm", code), two = one;
  one.fib["flags"] = {"-DNAME=a"};
  two.fib["flags"] = {"-DNAME=another_name_altogether"};
  EXPECT_EQ(identity(one).key, identity(two).key);
}

TEST_F(CpuIdentityTest, DamagedObjectsAreErrors) {
  const Artifact artifact = *artifact_of(house_rmsnorm("rmsnorm-plain"), *bench_signature());
  const std::string object = must(read_file(artifact.folder / "solution.so"));
  for (const size_t size : {size_t{0}, size_t{10}, size_t{64}, object.size() / 2}) {
    EXPECT_FALSE(shared_object_identity(std::as_bytes(std::span(object).first(size)))) << size;
  }
  std::string lies = object;
  lies.replace(40, 8, std::string(8, '\xff'));  // where its sections are listed
  EXPECT_FALSE(shared_object_identity(std::as_bytes(std::span(lies))));
  Artifact gone = artifact;
  gone.folder = folder_.path() / "nowhere";
  EXPECT_FALSE(code_identity(gone));
  gone.manifest.target = "python";
  const auto refused = code_identity(gone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().where, "python");
}

}  // namespace
}  // namespace fib::agents
