// fib agent list, show, tree: what searches left in a store.

#include <gmock/gmock.h>

#include "tests/agents/report/made_up_run.h"
#include "tests/integrations/fib_process.h"
#include "tests/integrations/paired_store.h"

namespace fib::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class AgentRecords : public FibUser {
 protected:
  // The made-up run, finished, in fib.db; #0 and #1 have sources.
  void SetUp() override {
    const auto store = Store::open(store_file_).value();
    const auto archive = RunArchive::open(store_file_).value();
    const int64_t run = archive->begin(made_up_run()).value();
    for (CandidateRecord candidate : made_up_candidates()) {
      std::vector<Exchange> exchanges;
      if (candidate.number <= 1) {
        const Solution solution =
            house_solution("rmsnorm-plain", candidate.number == 0 ? "before" : "after");
        ASSERT_TRUE(store->add_solution(solution));
        candidate.solution_key = solution_key(solution);
      }
      if (candidate.number == 5) {
        candidate.solution_key = "of a source that the store has lost";
        exchanges = {{"user", "faster, please"}, {"assistant", "\x1b[2Jhere"}};
      }
      ASSERT_TRUE(archive->add(candidate, exchanges));
    }
    ASSERT_TRUE(archive->end(run, RunState::kFinished, "budget: 6 candidates"));
  }

  std::string agent(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "agent");
    const Finished finished = fib(arguments);
    EXPECT_EQ(finished.code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
  }
  std::string refusal(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "agent");
    const Finished finished = fib(arguments);
    EXPECT_EQ(finished.code, 2) << finished.out << finished.err;
    EXPECT_EQ(finished.out, "");
    return finished.err;
  }

  const std::filesystem::path store_file_ = folder_ / "fib.db";
};

TEST_F(AgentRecords, ListsSearches) {
  const std::string text = agent({"list"});
  EXPECT_THAT(text, StartsWith("run  signature    hardware  state     candidates  best  speedup"));
  EXPECT_THAT(text, HasSubstr("  1  rmsnorm_h64  TEST_CPU  finished           7  #3    1.500x "
                              "1.450-1.550  0.750"));
  const Json document = fib_json({"agent", "list"});
  ASSERT_EQ(document.at("runs").size(), 1u);
  const Json& run = document.at("runs").at(0);
  EXPECT_EQ(run.at("state"), "finished");
  EXPECT_EQ(run.at("end_reason"), "budget: 6 candidates");
  EXPECT_EQ(run.at("candidates"), 7);
  EXPECT_EQ(run.at("best"), 3);
  EXPECT_EQ(run.at("money"), 0.75);
}

TEST_F(AgentRecords, TellsRunningFromKilled) {
  const auto archive = RunArchive::open(store_file_).value();
  const int64_t running = archive->begin(made_up_run()).value();
  const int64_t killed = RunArchive::open(store_file_).value()->begin(made_up_run()).value();
  const Json runs = fib_json({"agent", "list"}).at("runs");
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs.at(0).at("run"), killed);
  EXPECT_EQ(runs.at(0).at("state"), "stopped");
  EXPECT_EQ(runs.at(0).at("end_reason"), "killed");
  EXPECT_TRUE(runs.at(0).at("best").is_null());
  EXPECT_EQ(runs.at(1).at("run"), running);
  EXPECT_EQ(runs.at(1).at("state"), "running");
}

TEST_F(AgentRecords, ShowsARun) {
  const std::string text = agent({"show", "1", "--limit", "2"});
  EXPECT_THAT(text,
              StartsWith("run 1  rmsnorm_h64  cpu  TEST_CPU  finished: budget: 6 candidates"));
  EXPECT_THAT(text, HasSubstr("7, 1 of them seeds"));
  EXPECT_THAT(text, HasSubstr("#3 1.500x 1.450-1.550, confirmed  rows"));
  EXPECT_THAT(
      text, HasSubstr("  tune          3        0          1       1     0         1          1"));
  EXPECT_THAT(text, HasSubstr("  failed           1  compile-error  #2: that is why\n"));
  EXPECT_THAT(text, HasSubstr("compute-bound, error 1e-4, 2.93 KiB of code"));
  EXPECT_THAT(text, HasSubstr("         #5  1.300x 1.250-1.350             llm       #1\n"));
  EXPECT_THAT(text, Not(HasSubstr("TILE 64"))) << "the third";
  EXPECT_THAT(agent({"show", "1", "--limit", "1"}), HasSubstr("  ... 1 more kind\n"));
  const Json document = fib_json({"agent", "show", "1", "--limit", "2"});
  EXPECT_EQ(document.at("best"), 3);
  EXPECT_EQ(document.at("top").size(), 2u);
}

TEST_F(AgentRecords, ShowsACandidateWithItsChange) {
  const std::string text = agent({"show", "1", "--candidate", "1"});
  EXPECT_THAT(text, StartsWith("#1 of run 1  1.200x 1.150-1.250\n"));
  EXPECT_THAT(text, HasSubstr("  made of    #0\n"));
  EXPECT_THAT(text, HasSubstr("  changed    TILE 64 -> 128\n"));
  EXPECT_THAT(text, HasSubstr("memory-bound, relative error 0.0002, 2.93 KiB code"));
  EXPECT_THAT(text, HasSubstr("--- #0/solution.cpp\n+++ #1/solution.cpp\n"));
  EXPECT_THAT(text, AllOf(HasSubstr("-// before\n"), HasSubstr("+// after\n")));
  const Json document = fib_json({"agent", "show", "1", "--candidate", "1"});
  EXPECT_EQ(document.at("number"), 1);
  EXPECT_THAT(document.at("difference").get<std::string>(), HasSubstr("+// after\n"));
}

TEST_F(AgentRecords, ShowsWhatWasSaidWithoutSteeringTheTerminal) {
  const std::string text = agent({"show", "1", "--candidate", "5"});
  EXPECT_THAT(text, HasSubstr("\nuser\nfaster, please\n\nassistant\n\ufffd[2Jhere\n"));
  EXPECT_THAT(text, HasSubstr("3 s waited, 100 + 20 tokens, money 0.250"));
  EXPECT_THAT(text, Not(HasSubstr("+++"))) << "without sources there is no difference";
  const Json document = fib_json({"agent", "show", "1", "--candidate", "5"});
  EXPECT_EQ(document.at("exchanges").at(1).at("content"), "\x1b[2Jhere");
  EXPECT_EQ(document.at("difference"), "");
}

TEST_F(AgentRecords, SaysWhyACandidateCameToNothing) {
  EXPECT_THAT(agent({"show", "1", "--candidate", "6"}),
              AllOf(StartsWith("#6 of run 1  refused: malformed\n"),
                    HasSubstr("  because   that is why\n")));
  EXPECT_THAT(agent({"show", "1", "--candidate", "4"}),
              StartsWith("#4 of run 1  duplicate of #1\n"));
}

TEST_F(AgentRecords, WritesThePageAndThePicture) {
  const std::string text = agent({"show", "1", "--html", "run.html", "--svg", "run.svg"});
  EXPECT_THAT(text, HasSubstr("wrote run.html\nwrote run.svg\n"));
  EXPECT_THAT(read("run.svg"), AllOf(StartsWith("<svg "), HasSubstr("#3 1.50x")));
  EXPECT_THAT(read("run.html"), AllOf(StartsWith("<!DOCTYPE html>"), HasSubstr("<svg "),
                                      HasSubstr("+// after"), HasSubstr("faster, please")));
}

TEST_F(AgentRecords, DrawsTheLineage) {
  EXPECT_EQ(agent({"tree", "1"}),
            "#0 seed  1.000x 0.950-1.050\n"
            "├─ #1 tune  1.200x 1.150-1.250  ▲ new best  TILE 64 -> 128\n"
            "│  ├─ #3 mutate  1.500x 1.450-1.550, confirmed  ▲ new best\n"
            "│  └─ #5 llm  1.300x 1.250-1.350\n"
            "└─ 1 refused, 1 duplicate, 1 failed\n");
  EXPECT_EQ(agent({"tree", "1", "--all"}),
            "#0 seed  1.000x 0.950-1.050\n"
            "├─ #1 tune  1.200x 1.150-1.250  ▲ new best  TILE 64 -> 128\n"
            "│  ├─ #3 mutate  1.500x 1.450-1.550, confirmed  ▲ new best\n"
            "│  └─ #5 llm  1.300x 1.250-1.350\n"
            "├─ #2 tune  failed: compile-error\n"
            "├─ #4 tune  duplicate of #1\n"
            "└─ #6 llm  refused: malformed\n");
  EXPECT_EQ(agent({"tree", "1", "--of", "5"}),
            "#0 seed  1.000x 0.950-1.050\n"
            "└─ #1 tune  1.200x 1.150-1.250  ▲ new best  TILE 64 -> 128\n"
            "   └─ #5 llm  1.300x 1.250-1.350\n");
  const Json document = fib_json({"agent", "tree", "1", "--of", "2"});
  ASSERT_EQ(document.at("candidates").size(), 2u);
  EXPECT_EQ(document.at("candidates").at(1).at("number"), 2);
  EXPECT_EQ(document.at("candidates").at(1).at("reason"), "compile-error");
}

TEST_F(AgentRecords, RefusesWhatIsNotThere) {
  EXPECT_THAT(refusal({"show", "9"}),
              AllOf(HasSubstr("there is no run 9"), HasSubstr("'fib agent list' lists the runs")));
  EXPECT_THAT(refusal({"tree", "9"}), HasSubstr("there is no run 9"));
  EXPECT_THAT(refusal({"show", "1", "--candidate", "99"}), HasSubstr("run 1 has no candidate 99"));
  EXPECT_THAT(refusal({"tree", "1", "--of", "99"}), HasSubstr("run 1 has no candidate 99"));
  EXPECT_THAT(refusal({"show", "one"}),
              HasSubstr("'one' must be a run's number: 'fib agent list' has them"));
  EXPECT_THAT(refusal({"tree", "0"}), HasSubstr("'0' must be a run's number"));
  EXPECT_THAT(refusal({"show", "1", "--candidate=-1"}),
              HasSubstr("'-1' must be a candidate's number"));
  EXPECT_THAT(refusal({"show", "1", "--limit", "1.5"}), HasSubstr("a whole number from 1"));
  EXPECT_THAT(refusal({"show", "1", "--candidate", "1", "--svg", "x.svg"}), HasSubstr("--svg"));
  EXPECT_THAT(refusal({"list", "--store", "none.db"}),
              AllOf(HasSubstr("none.db: there is no store"), HasSubstr("fib agent run")));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none.db")) << "looking makes no file";
}

TEST_F(AgentRecords, SaysWhereItCannotWrite) {
  const Finished finished = fib({"agent", "show", "1", "--html", "no/such/folder/x.html"});
  EXPECT_EQ(finished.code, 3) << finished.out;
  EXPECT_THAT(finished.err, HasSubstr("no/such/folder/x.html"));
}

TEST_F(AgentRecords, AStoreWithoutSearchesSaysSo) {
  ASSERT_TRUE(Store::open(folder_ / "new.db"));
  EXPECT_EQ(agent({"list", "--store", "new.db"}), "no searches in new.db\n");
  EXPECT_EQ(fib_json({"agent", "list", "--store", "new.db"}).at("runs"), Json::array());
}

}  // namespace
}  // namespace fib::testing
