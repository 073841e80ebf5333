// fib profile on the cpu target, end to end; counters with a program in the place of Nsight
// Compute.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "integrations/cli/counters.h"
#include "tests/integrations/fib_process.h"

namespace fib::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kRows =
    R"({"definition":"rmsnorm_h64","workload":{"uuid":"few","axes":{"batch_size":3},"inputs":{}}})"
    "\n"
    R"({"definition":"rmsnorm_h64","workload":{"uuid":"many","axes":{"batch_size":70},"inputs":{}}})"
    "\n";

class Profile : public FibUser {
 protected:
  void SetUp() override {
    write("rows.jsonl", kRows);
    const Finished made =
        fib({"solution", "new", "mine", "--signature", "rmsnorm_h64", "--target", "cpu"});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  std::vector<std::string> profile(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"profile", "mine",        "--signature", "rmsnorm_h64",
                                          "--quick", "--workloads", "rows.jsonl"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

TEST_F(Profile, SaysWhereTheTimeGoes) {
  const Finished finished = fib(profile());
  ASSERT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_THAT(
      finished.out,
      AllOf(HasSubstr("# mine: right on 2 of 2 workloads"), HasSubstr("## Time, over 2 workloads"),
            HasSubstr("## Accuracy"), HasSubstr("## The binary\n"), HasSubstr(" bytes of code\n"),
            HasSubstr("counters: not read: they are read on the target cuda only")));
  EXPECT_EQ(fib_json({"show", "1"}).at("status"), "PASSED") << "the verdicts are stored";
}

TEST_F(Profile, TakesOneWorkloadAndSpeaksJson) {
  const auto lines = fib_json_lines(profile({"--workload", "ma", "--no-counters"}));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("axes").at("batch_size"), 70);
  EXPECT_EQ(lines[1].at("feedback").at("outcome"), "right");
  EXPECT_EQ(lines[1].at("feedback").at("time").at("workloads"), 1);
  EXPECT_EQ(lines[1].at("counters").at("reason"), "not asked for");

  const Finished unknown = fib(profile({"--workload", "none"}));
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("rmsnorm_h64 has no workload 'none'"));
}

TEST_F(Profile, QuotesWhatDoesNotCompile) {
  write("mine/solution.cpp", "int before;\nint wrong = undefined_name;\n");
  const Finished finished = fib(profile());
  EXPECT_EQ(finished.code, 1) << finished.err;
  EXPECT_THAT(finished.out,
              AllOf(HasSubstr("# mine: it doesn't compile"), HasSubstr("solution.cpp:2: error: "),
                    HasSubstr(">    2 | int wrong = undefined_name;"),
                    HasSubstr("counters: not read: it doesn't compile")));
  EXPECT_EQ(fib({"show", "1"}).code, 2) << "there is nothing to judge";

  const auto lines = fib_json_lines(profile({"--against", "house"}), 1);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].at("feedback").at("outcome"), "compile-error");
  EXPECT_THAT(std::string(lines[0].at("feedback").at("parent").at("name")), HasSubstr("rmsnorm-"));
}

TEST_F(Profile, ComparesWithAnother) {
  const Finished finished = fib(profile({"--against", "house"}));
  ASSERT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_THAT(finished.out, AllOf(HasSubstr("## Against its parent rmsnorm-"),
                                  HasSubstr("x its speed; the parent's was 1.000x"),
                                  HasSubstr("the parent's binary: "), HasSubstr("solution.cpp: "),
                                  HasSubstr("```diff")));
  EXPECT_EQ(fib(profile({"--against", "nobody"})).code, 2);
}

TEST_F(Profile, WithoutACardTellsWhatTheBuildSays) {
  ASSERT_EQ(fib({"solution", "new", "cu", "--signature", "rmsnorm_h4096", "--target", "cuda"}).code,
            0);
  const Finished finished = fib({"profile", "cu", "--signature", "rmsnorm_h4096", "--limit", "1",
                                 "--quick", "--against", "house"});
  if (finished.code == 0) GTEST_SKIP() << "there is a card";
  if (finished.out.empty()) GTEST_SKIP() << "no NVRTC: " << finished.err;
  EXPECT_EQ(finished.code, 3) << finished.err;
  EXPECT_THAT(finished.out,
              AllOf(HasSubstr("# cu: it compiles; not yet judged"), HasSubstr("registers a thread"),
                    HasSubstr("## Against its parent "), HasSubstr("the parent's binary: "),
                    HasSubstr("counters: not read: it could not be measured")));
  EXPECT_THAT(finished.err, HasSubstr("target 'cuda' can't run here"));
}

// What stands in for ncu keeps its arguments and writes a recorded report.
class Counters : public FibUser {
 protected:
  Result<CounterReport> read(const std::string& script, std::function<bool()> cancelled = {}) {
    const std::filesystem::path ncu = folder_ / "ncu";
    write("ncu", "#!/bin/sh\n" + script);
    std::filesystem::permissions(ncu, std::filesystem::perms::owner_all);
    Solution solution{.name = "mine", .definition = "rmsnorm_h64"};
    solution.sources = {{"kernel.cu", "//\n"}, {"plan.cpp", "//\n"}};
    solution.fib = {{"target", "cuda"},
                    {"entry", "kernel.cu"},
                    {"plan", "plan.cpp"},
                    {"kernels", Json::array({"rmsnorm<64>"})}};
    Verdict verdict{.signature = "rmsnorm_h64", .workload = "few"};
    verdict.kernels = {{.name = "void rmsnorm<64>(int)"}, {.name = "combine"}, {.name = "a|b"}};
    std::ostringstream out;
    const Context context{.out = out,
                          .err = out,
                          .executable = FIB_BINARY_DIR "/fib",
                          .cache_folder = folder_ / "cache"};
    const SubmissionArgs submission;
    return read_counters({.context = context,
                          .solution = solution,
                          .submission = submission,
                          .verdict = verdict,
                          .ncu = ncu,
                          .cancelled = std::move(cancelled)});
  }
};

constexpr const char* kFindReport =
    "while [ $# -gt 0 ]; do if [ \"$1\" = --log-file ]; then report=$2; fi; shift; done\n";

TEST_F(Counters, AreOfTheKernelsOfASecondRun) {
  const auto report =
      read(fmt::format("echo \"$@\" > {}/seen\n{}cp {} \"$report\"\n", folder_.string(),
                       kFindReport, FIB_SOURCE_DIR "/tests/runners/fixtures/ncu_raw.csv"));
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->kernels.size(), 2u);
  EXPECT_THAT(this->FibUser::read("seen"),
              AllOf(HasSubstr("regex:^(rmsnorm|combine)$"),
                    HasSubstr("--signature rmsnorm_h64 --workload few"), HasSubstr("--quick"),
                    Not(HasSubstr("a|b"))));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "cache/profile")) << "nothing is left behind";
}

TEST_F(Counters, ThatCannotBeReadSayWhy) {
  const auto silent = read("exit 1\n");
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().message, "ncu wrote no report");
  const auto refused =
      read(fmt::format("{}echo '==ERROR== ERR_NVGPUCTRPERM - no' > \"$report\"\n", kFindReport));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().remedy, HasSubstr("NVreg_RestrictProfilingToAdminUsers=0"));
}

TEST_F(Counters, ThatNobodyWaitsForAnyMoreAreNotReadOn) {
  const auto cancelled = read("sleep 600\n", [] { return true; });
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().message, "interrupted");
}

}  // namespace
}  // namespace fib::testing
