#include "runners/worker/toolchain.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runners/worker/landlock.h"
#include "tests/runners/temporary_folder.h"

namespace fib {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class CompileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto toolchain = find_host_compiler();
    if (!toolchain) GTEST_SKIP() << toolchain.error().to_string();
    toolchain_ = *toolchain;
    toolchain_.include_folder = std::filesystem::path(FIB_SOURCE_DIR) / "harness/abi";
  }

  CompileOutcome compile(const std::string& text, double timeout_s = 60.0,
                         std::vector<std::string> flags = {}) {
    sources_.write("kernel.cpp", text);
    auto outcome = compile_shared_object({.toolchain = toolchain_,
                                          .source_folder = sources_.path(),
                                          .sources = {"kernel.cpp"},
                                          .definitions = {{"FIB_AXIS_hidden_size", "4096"}},
                                          .flags = std::move(flags),
                                          .output = output_.path() / "kernel.so",
                                          .timeout_s = timeout_s});
    EXPECT_TRUE(outcome) << outcome.error().to_string();
    return *outcome;
  }

  Toolchain toolchain_;
  TemporaryFolder sources_, output_;
};

TEST_F(CompileTest, MakesASharedObject) {
  const CompileOutcome outcome = compile(R"(
    #include <fib/cpu.h>
    extern "C" int fib_run(const FibCall*) { return FIB_AXIS_hidden_size; })");
  ASSERT_TRUE(outcome.ok) << outcome.log;
  EXPECT_EQ(outcome.log, "");
  EXPECT_GT(outcome.ms, 0.0);
  void* object = ::dlopen((output_.path() / "kernel.so").c_str(), RTLD_NOW);
  ASSERT_NE(object, nullptr) << ::dlerror();
  const auto run = reinterpret_cast<int (*)(const void*)>(::dlsym(object, "fib_run"));
  ASSERT_NE(run, nullptr);
  EXPECT_EQ(run(nullptr), 4096);
  ::dlclose(object);
}

// Two objects may have inline functions and variables of one name that differ: no linker may take
// one's for the other's.
TEST_F(CompileTest, AnObjectsInlineFunctionsStandInNoGroup) {
  sources_.write("kernel.cpp", R"(
    inline int shared() { static int calls = 0; return ++calls; }
    extern "C" int fib_run(const void*) { return shared(); })");
  const auto object = output_.path() / "kernel.o";
  const auto outcome = compile_object({.toolchain = toolchain_,
                                       .source_folder = sources_.path(),
                                       .sources = {"kernel.cpp"},
                                       .output = object});
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  ASSERT_TRUE(outcome->ok) << outcome->log;
  const auto readelf = find_tool(toolchain_, "readelf");
  ASSERT_TRUE(readelf) << readelf.error().to_string();
  const auto listed = run_tool({.toolchain = toolchain_,
                                .program = *readelf,
                                .arguments = {"-gsW", "kernel.o"},
                                .working_folder = output_.path(),
                                .output_folder = output_.path()});
  ASSERT_TRUE(listed) << listed.error().to_string();
  EXPECT_THAT(listed->log, AllOf(HasSubstr("There are no section groups"), HasSubstr("fib_run"),
                                 Not(HasSubstr("UNIQUE"))));
}

TEST_F(CompileTest, AToolThatIsMissingIsNamed) {
  const auto found = find_tool(toolchain_, "no-such-tool");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kEnvironment);
  EXPECT_EQ(found.error().where, "no-such-tool");
}

TEST_F(CompileTest, ErrorsStandInTheAuthorsFile) {
  const CompileOutcome outcome = compile("int one() {\n  return two;\n}\n");
  EXPECT_FALSE(outcome.ok);
  EXPECT_THAT(outcome.log, AllOf(HasSubstr("kernel.cpp:2:10: error: "),
                                 Not(HasSubstr(sources_.path().string()))));
  EXPECT_THAT(outcome.log, StartsWith("kernel.cpp: In function"));
}

TEST_F(CompileTest, LinkErrorsKeepToTheAuthorsFilesToo) {
  const CompileOutcome outcome =
      compile("int missing(); int f() { return missing(); }", 60.0, {"-Wl,--no-undefined"});
  EXPECT_FALSE(outcome.ok);
  EXPECT_THAT(outcome.log, AllOf(HasSubstr("kernel.cpp"), HasSubstr("missing()"),
                                 Not(HasSubstr(output_.path().string()))));
}

TEST_F(CompileTest, EndlessCompilesAreStopped) {
  const CompileOutcome outcome = compile(R"(
    template <int N, int M> struct Tree {
      static constexpr long value = Tree<N - 1, 2 * M>::value + Tree<N - 1, 2 * M + 1>::value;
    };
    template <int M> struct Tree<0, M> { static constexpr long value = M; };
    long total = Tree<30, 0>::value;)",
                                         0.5);
  EXPECT_FALSE(outcome.ok);
  EXPECT_TRUE(outcome.timed_out);
  EXPECT_THAT(outcome.log, HasSubstr("took longer than 0.5 s"));
  EXPECT_LT(outcome.ms, 10'000.0);
}

TEST_F(CompileTest, EndlessMessagesAreBounded) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "int f" + std::to_string(i) + "() { return missing; }\n";
  const CompileOutcome outcome = compile(text);
  EXPECT_FALSE(outcome.ok);
  EXPECT_LT(outcome.log.size(), 66u << 10);
  EXPECT_THAT(outcome.log, AllOf(HasSubstr("kernel.cpp:1:"), HasSubstr("bytes left out")));
}

TEST_F(CompileTest, FilesOfOthersCannotBeIncluded) {
  if (landlock_abi() == 0) GTEST_SKIP() << "the kernel has no Landlock";
  TemporaryFolder others;
  const std::string secret = others.write("expected.inc", "1.0, 2.0").string();
  for (const std::string& text : {"const double x[] = {\n#include \"" + secret + "\"\n};",
                                  "asm(\".incbin \\\"" + secret + "\\\"\");"}) {
    const CompileOutcome outcome = compile(text);
    EXPECT_FALSE(outcome.ok) << text;
    EXPECT_THAT(outcome.log, HasSubstr("expected.inc"));
  }
}

TEST_F(CompileTest, ASourceIsNeverTakenForAFlag) {
  sources_.write("-v.cpp", "extern \"C\" int f() { return 1; }");
  const auto outcome = compile_shared_object({.toolchain = toolchain_,
                                              .source_folder = sources_.path(),
                                              .sources = {"-v.cpp"},
                                              .output = output_.path() / "kernel.so"});
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->ok) << outcome->log;
  EXPECT_EQ(outcome->log, "");
}

TEST(FindHostCompiler, TellsPathAndVersion) {
  const auto toolchain = find_host_compiler();
  if (!toolchain) GTEST_SKIP() << toolchain.error().to_string();
  EXPECT_TRUE(toolchain->compiler.is_absolute());
  EXPECT_FALSE(toolchain->version.empty());
  EXPECT_THAT(toolchain->version, Not(HasSubstr("\n")));
}

TEST(FindHostCompiler, SaysWhatIsMissing) {
  const auto none = find_host_compiler({}, "/no/such/folder:");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(none.error().to_string(),
              AllOf(HasSubstr("no C++ compiler in /no/such/folder:"), HasSubstr("install g++")));

  const auto named = find_host_compiler("g++-99");
  ASSERT_FALSE(named);
  EXPECT_THAT(named.error().to_string(), StartsWith("g++-99: no such program in /usr/local/bin"));

  const auto absent = find_host_compiler("/no/such/g++");
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().to_string(), StartsWith("/no/such/g++: can't be started"));

  const auto wrong = find_host_compiler("/bin/false");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().to_string(), StartsWith("/bin/false: doesn't tell its version"));
}

}  // namespace
}  // namespace fib
