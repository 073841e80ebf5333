#include "agents/report/run_report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/agents/report/made_up_run.h"

namespace fib::agents {
namespace {

using namespace fib::testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(RunReport, RanksByTheLowerEndAndMarksWhatWasBestWhenItCame) {
  const RunReport report = made_up_report();
  EXPECT_THAT(report.ranking, ElementsAre(3, 5, 1, 0));
  EXPECT_THAT(report.improvements, ElementsAre(1, 3)) << "#5 came after #3; seeds don't count";
  EXPECT_THAT(report.wins, ElementsAre(Pair("mutate", 1), Pair("tune", 1)));
  ASSERT_NE(report.best(), nullptr);
  EXPECT_EQ(report.best()->number, 3);
}

TEST(RunReport, CountsByProposerAndReason) {
  const RunReport report = made_up_report();
  EXPECT_EQ(report.tally.proposers().at("tune").asked, 3);
  EXPECT_EQ(report.tally.proposers().at("llm").refused, 1);
  EXPECT_EQ(report.tally.spent().money, 0.75);
  EXPECT_EQ(report.tally.spent().tokens, 200);
  EXPECT_EQ(report.candidates_per_hour, 360.0) << "six in a minute, without the seed";
  ASSERT_EQ(report.reasons.size(), 3u);
  EXPECT_THAT(report.reasons.at(CandidateFate::kFailed), ElementsAre(Pair("compile-error", 1)));
}

TEST(RunReport, TheMostFrequentReasonComesFirst) {
  std::vector<CandidateRecord> candidates;
  for (const char* reason : {"a", "b", "b", "c", "c", "c"}) {
    const auto number = static_cast<int64_t>(candidates.size());
    candidates.push_back(ended(made_up(number, "llm", {}), CandidateFate::kRefused, reason));
  }
  EXPECT_THAT(make_report(made_up_run(), candidates).reasons.at(CandidateFate::kRefused),
              ElementsAre(Pair("c", 3), Pair("b", 2), Pair("a", 1)));
}

TEST(RunReport, HasAnExampleOfEachReason) {
  std::vector<CandidateRecord> candidates;
  for (const char* reason : {"crash", "crash", "path"}) {
    const auto number = static_cast<int64_t>(candidates.size());
    candidates.push_back(ended(made_up(number, "exec", {}), CandidateFate::kRefused, reason));
    candidates.back().refusal.message = "exited;\nit printed " + std::to_string(number) + "\n";
  }
  const RunReport report = make_report(made_up_run(), candidates);
  EXPECT_THAT(report.examples.at(CandidateFate::kRefused),
              ElementsAre(Pair("crash", 1), Pair("path", 2)));
  EXPECT_EQ(cause_in_words(*report.find(1)), "exited; it printed 1");
  EXPECT_EQ(report.tally.proposers().at("exec").last_refusal, candidates[2].refusal);
  const Json crash = report_to_json(report, 1).at("examples").at("refused").at("crash");
  EXPECT_EQ(crash, Json({{"candidate", 1}, {"message", "exited;\nit printed 1\n"}}));

  candidates[0].refusal.message = std::string(159, 'x') + "\u00e9 and so on";
  EXPECT_EQ(cause_in_words(candidates[0]), std::string(159, 'x') + " ...");
}

TEST(RunReport, HasTheFastestOfEachCell) {
  const RunReport report = made_up_report();
  ASSERT_EQ(report.cells.size(), 2u);
  EXPECT_EQ(report.cells[0].elite, 3);
  EXPECT_EQ(report.cells[0].cell.bound, "compute");
  EXPECT_EQ(report.cells[1].elite, 5);
  EXPECT_EQ(report.cells[1].candidates, 3);
  EXPECT_EQ(cell_in_words(report.cells[1].cell, report.find(5)->behaviour),
            "memory-bound, error 1e-4, 2.93 KiB of code");
  EXPECT_EQ(cell_in_words({.error_step = -9}, {.registers = 96, .shared_bytes = 48 << 10}),
            "bound unknown, error 1e-9, 96 registers, 48 KiB shared");
}

TEST(RunReport, FollowsFirstParents) {
  const RunReport report = made_up_report();
  EXPECT_THAT(report.line_of(3), ElementsAre(0, 1, 3));
  EXPECT_THAT(report.line_of(0), ElementsAre(0));
  EXPECT_THAT(report.line_of(99), IsEmpty());
}

TEST(RunReport, ARunWithoutCandidatesSaysSo) {
  RunRecord run = made_up_run();
  run.active_s = 0.0;
  const RunReport report = make_report(run, {});
  EXPECT_EQ(report.best(), nullptr);
  EXPECT_EQ(report.candidates_per_hour, 0.0);
  const Json document = report_to_json(report, 10);
  EXPECT_TRUE(document.at("best").is_null());
  EXPECT_EQ(document.at("top"), Json::array());
}

TEST(RunReport, LeavesOutOfTheRankingWhatIsNoNumber) {
  std::vector<CandidateRecord> candidates = made_up_candidates();
  candidates[0].speedup_low = std::nan("");
  candidates[1].speedup = std::numeric_limits<double>::infinity();
  candidates[3].speedup = 0.0;
  EXPECT_THAT(make_report(made_up_run(), candidates).ranking, ElementsAre(5));
}

TEST(RunReport, IsOneDocument) {
  const Json document = report_to_json(made_up_report(), 2);
  EXPECT_EQ(document.at("run"), 1);
  EXPECT_EQ(document.at("state"), "finished");
  EXPECT_EQ(document.at("best"), 3);
  EXPECT_EQ(document.at("improvements"), Json::array({1, 3}));
  EXPECT_EQ(document.at("proposers").at("tune").at("wins"), 1);
  EXPECT_EQ(document.at("proposers").at("llm").at("wins"), 0);
  EXPECT_EQ(document.at("reasons").at("refused"), Json({{"malformed", 1}}));
  EXPECT_EQ(document.at("cells").at(0).at("elite"), 3);
  ASSERT_EQ(document.at("top").size(), 2u);
  EXPECT_EQ(document.at("top").at(1).at("number"), 5);
}

}  // namespace
}  // namespace fib::agents
