// Two solutions side by side, end to end on the cpu target. What is asserted is structure: who is
// faster depends on the machine.

#include <gmock/gmock.h>

#include "tests/integrations/fib_process.h"

namespace fib::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kRows =
    R"({"definition":"rmsnorm_h64","workload":{"uuid":"a","axes":{"batch_size":3},"inputs":{}}})"
    "\n"
    R"({"definition":"rmsnorm_h64","workload":{"uuid":"b","axes":{"batch_size":70},"inputs":{}}})"
    "\n";

const std::string kHouseRmsnorm = FIB_SOURCE_DIR "/leaderboard/solutions/cpu/rmsnorm/";

class Comparison : public FibUser {
 protected:
  void SetUp() override { write("rows.jsonl", kRows); }
  static std::vector<std::string> compare(const std::string& candidate,
                                          const std::string& incumbent,
                                          std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"compare",     candidate,     incumbent,
                                          "--quick",     "--workloads", "rows.jsonl",
                                          "--signature", "rmsnorm_h64"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // A house solution in a folder of its own.
  void copy_house(const std::string& name, const std::string& to) const {
    std::filesystem::copy(kHouseRmsnorm + name, folder_ / to);
  }
  static void expect_paired(const Json& verdict, const std::string& incumbent) {
    EXPECT_EQ(verdict.at("status"), "PASSED");
    EXPECT_EQ(verdict.at("incumbent"), incumbent);
    EXPECT_EQ(verdict.at("incumbent_key").get<std::string>().size(), 64u);
    const std::string paired = verdict.at("paired");
    if (paired == "none") {  // a machine that stood still
      EXPECT_THAT(verdict.at("paired_note").get<std::string>(), HasSubstr("too few rounds"));
      return;
    }
    EXPECT_LE(verdict.at("speedup_low").get<double>(), verdict.at("speedup").get<double>());
    EXPECT_LE(verdict.at("speedup").get<double>(), verdict.at("speedup_high").get<double>());
    EXPECT_GT(verdict.at("noise_floor").get<double>(), 0.0099);
    EXPECT_EQ(verdict.at("is_confirmed"), paired == "faster");
  }
};

TEST_F(Comparison, OfTheHousesTwoIsStoredAndSummarised) {
  const auto documents =
      fib_json_lines(compare(kHouseRmsnorm + "rmsnorm-rows", kHouseRmsnorm + "rmsnorm-plain"));
  ASSERT_EQ(documents.size(), 3u);
  expect_paired(documents[0], "rmsnorm-plain");
  expect_paired(documents[1], "rmsnorm-plain");
  const Json& summary = documents[2].at("summary");
  EXPECT_EQ(summary.at("verdicts"), 2);
  EXPECT_EQ(summary.at("passed"), 2);
  ASSERT_EQ(summary.at("pairs").size(), 1u);
  const Json& pair = summary.at("pairs").at(0);
  EXPECT_EQ(pair.at("candidate"), "rmsnorm-rows");
  EXPECT_EQ(pair.at("incumbent"), "rmsnorm-plain");
  EXPECT_EQ(pair.at("signature"), "rmsnorm_h64");
  EXPECT_EQ(pair.at("workloads"), 2);
  EXPECT_EQ(pair.at("faster").get<int>() + pair.at("slower").get<int>() +
                pair.at("same").get<int>() + pair.at("ambiguous").get<int>(),
            2);
  EXPECT_LE(pair.at("speedup_low").get<double>(), pair.at("speedup_high").get<double>());

  const Json shown = fib_json({"show", "1"});
  EXPECT_EQ(shown.at("paired"), documents[0].at("paired"));
  ASSERT_FALSE(shown.at("paired_samples").empty());
  int64_t contenders = 0;
  for (const Json& sample : shown.at("paired_samples").at(0).at("samples")) {
    contenders |= int64_t{1} << sample.at("contender").get<int>();
  }
  EXPECT_EQ(contenders, 0b111) << "candidate, incumbent and control";
  EXPECT_THAT(fib({"show", "1"}).out, HasSubstr("against"));

  // The board knows the candidate as if it had been submitted alone.
  const Json board = fib_json({"board", "rmsnorm_h64"});
  EXPECT_EQ(board.at("boards").at(0).at("rows").size(), 1u);

  const Finished again =
      fib(compare(kHouseRmsnorm + "rmsnorm-rows", kHouseRmsnorm + "rmsnorm-plain"));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("2 verdicts from the store"));
  EXPECT_THAT(again.out, HasSubstr("rmsnorm-rows against rmsnorm-plain on rmsnorm_h64: "));
  EXPECT_THAT(again.out, HasSubstr("over 2 workloads: "));
}

TEST_F(Comparison, ACopyIsNeverConfirmedFaster) {
  copy_house("rmsnorm-rows", "copy");
  for (const Json& document : fib_json_lines(compare("copy", kHouseRmsnorm + "rmsnorm-rows"))) {
    if (document.contains("summary")) continue;
    expect_paired(document, "rmsnorm-rows");
    EXPECT_EQ(document.at("is_confirmed"), false) << document.dump();
  }
}

TEST_F(Comparison, WhoIsTheHouseTheBestAndANameInTheStore) {
  const std::vector<std::string> one = {"--limit", "1"};
  const auto incumbent = [&](const std::string& candidate, const std::string& who) {
    const auto documents = fib_json_lines(compare(candidate, who, one));
    return documents.empty() ? "" : documents[0].at("incumbent").get<std::string>();
  };
  copy_house("rmsnorm-plain", "mine");
  write("mine/solution.cpp", "// of my own\n" + read("mine/solution.cpp"));
  EXPECT_EQ(incumbent("mine", "house"), "rmsnorm-rows");
  EXPECT_EQ(incumbent(kHouseRmsnorm + "rmsnorm-rows", "house"), "rmsnorm-plain")
      << "the house's next, not itself";
  EXPECT_EQ(incumbent("mine", "rmsnorm-plain"), "rmsnorm-plain") << "the house's, by name";
  // The board has rmsnorm-rows and mine, which is called rmsnorm-plain as well.
  const Json board = fib_json({"board", "rmsnorm_h64"});
  const Json& leader = board.at("boards").at(0).at("rows").at(0);
  const auto documents = fib_json_lines(compare("mine", "best", one));
  const std::string own_key = fib_json({"solution", "validate", "mine"}).at("key");
  ASSERT_FALSE(documents.empty());
  EXPECT_NE(documents[0].at("incumbent_key"), own_key) << "never itself";
  if (leader.at("solution_key") != own_key) {
    EXPECT_EQ(documents[0].at("incumbent_key"), leader.at("solution_key"));
  }
}

TEST_F(Comparison, ASubmissionCanNameItsIncumbentToo) {
  const auto documents =
      fib_json_lines({"submit", kHouseRmsnorm + "rmsnorm-plain", "--against", "best", "--quick",
                      "--workloads", "rows.jsonl", "--limit", "1"});
  ASSERT_EQ(documents.size(), 2u);
  expect_paired(documents[0], "rmsnorm-rows");  // an empty board: the house's
  const Finished alone = fib({"submit", kHouseRmsnorm + "rmsnorm-rows", "--quick", "--workloads",
                              "rows.jsonl", "--limit", "1"});
  EXPECT_EQ(alone.code, 0) << alone.err;
  EXPECT_THAT(alone.out, HasSubstr("--against best"));
}

TEST_F(Comparison, AnIncumbentThatDoesNotCompileIsToldAndDoesNotHurt) {
  copy_house("rmsnorm-plain", "broken");
  write("broken/solution.cpp", "int broken( {\n");
  const Finished finished = fib(compare(kHouseRmsnorm + "rmsnorm-rows", "broken"));
  EXPECT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("2 of 2 passed"));
  EXPECT_THAT(finished.out, HasSubstr("not paired"));
  EXPECT_THAT(finished.out, HasSubstr("the incumbent 'rmsnorm-plain' was not built"));
}

TEST_F(Comparison, WhoIsNotThereOrDoesNotFitIsRefused) {
  const std::string rows = kHouseRmsnorm + "rmsnorm-rows";
  const Finished nobody = fib(compare(rows, "nobody"));
  EXPECT_EQ(nobody.code, 2);
  EXPECT_THAT(nobody.err, HasSubstr("nobody: there is no such solution"));
  EXPECT_THAT(nobody.err, HasSubstr("'house' or 'best'"));
  EXPECT_EQ(fib(compare("nobody", rows)).code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "fib.db")) << "looking makes no file";

  const Finished other = fib(compare(rows, "silu-and-mul-rows"));
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.err, HasSubstr("'silu-and-mul-rows' is for silu_and_mul, not for rmsnorm_h64"));
}

}  // namespace
}  // namespace fib::testing
