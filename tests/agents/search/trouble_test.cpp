// Proposers that hang, print garbage, throw, escape, repeat themselves; and budgets, each of them.

#include <gmock/gmock.h>

#include "leaderboard/sqlite.h"
#include "tests/agents/search/run_fixture.h"

namespace fib::agents {
namespace {

using ::testing::HasSubstr;

class ProposerTrouble : public RunFixture {
 protected:
  ProposerTrouble() {
    options.plan.search.lag = 1;
    options.budget.candidates = 100;
  }
  // Whoever does this each time is refused for this reason, and set aside in the end.
  void expect_refused(const std::string& reason, const std::string& message) {
    const RunSummary summary = run();
    EXPECT_EQ(summary.state, RunState::kFinished);
    EXPECT_EQ(summary.end_reason, "all proposers are set aside");
    EXPECT_EQ(summary.set_aside, std::vector<std::string>{"script"});
    EXPECT_EQ(summary.tally.rejected().at(reason), kMostRefusals);
    const CandidateRecord record = records(summary.run).at(1);
    EXPECT_EQ(record.fate, CandidateFate::kRefused);
    EXPECT_EQ(record.stage, CandidateStage::kProposed);
    EXPECT_EQ(record.solution_key, "");
    EXPECT_THAT(record.refusal.message, HasSubstr(message));
    EXPECT_EQ(bench->builds, 1);  // of the seed
  }
  void expect_solution_refused(std::function<void(Solution&)> spoil, const std::string& reason,
                               const std::string& message) {
    propose_with([spoil](const ProposalRequest& request) -> Result<ProposalOutcome> {
      Solution solution = changed(request, {.speed = 2.0});
      spoil(solution);
      return outcome_of(solution);
    });
    expect_refused(reason, message);
  }
};

TEST_F(ProposerTrouble, Hanging) {
  std::atomic<double> now_s = 0.0;
  hooks.clock = [&now_s] { return now_s.load(); };
  propose_with([this, &now_s](const ProposalRequest& request) -> Result<ProposalOutcome> {
    now_s = now_s + 2 * options.proposal_timeout_s;
    while (!request.cancelled()) std::this_thread::yield();
    return outcome_of(changed(request, {.speed = 2.0}));  // too late
  });
  expect_refused("timeout", "within 1800 s");
}

TEST_F(ProposerTrouble, HangingForGood) {
  std::atomic<double> now_s = 0.0;
  hooks.clock = [&now_s] { return now_s.load(); };
  struct Gate {
    std::mutex mutex;
    std::condition_variable opened;
    bool is_open = false;
    int inside = 0;
  };
  const auto gate = std::make_shared<Gate>();
  propose_with([this, gate, &now_s](const ProposalRequest&) -> Result<ProposalOutcome> {
    std::unique_lock lock(gate->mutex);
    if (!gate->is_open) now_s = now_s + 2 * options.proposal_timeout_s;
    ++gate->inside;
    gate->opened.wait(lock, [&] { return gate->is_open; });
    --gate->inside;
    gate->opened.notify_all();
    return ProposalOutcome{};
  });
  options.farewell_s = 0.0;
  expect_refused("timeout", "within 1800 s");
  // The run is over; those threads end whenever they like.
  std::unique_lock lock(gate->mutex);
  gate->is_open = true;
  gate->opened.notify_all();
  gate->opened.wait(lock, [&] { return gate->inside == 0; });
}

TEST_F(ProposerTrouble, Throwing) {
  propose_with(
      [](const ProposalRequest&) -> Result<ProposalOutcome> { throw std::runtime_error("oops"); });
  expect_refused("crash", "oops");
}

TEST_F(ProposerTrouble, ThrowingWhatIsNoException) {
  propose_with([](const ProposalRequest&) -> Result<ProposalOutcome> { throw 7; });
  expect_refused("crash", "no exception");
}

TEST_F(ProposerTrouble, NeitherASolutionNorARefusal) {
  propose_with([](const ProposalRequest&) -> Result<ProposalOutcome> { return ProposalOutcome{}; });
  expect_refused("malformed", "neither");
}

TEST_F(ProposerTrouble, ARefusalOfItsOwn) {
  propose_with([](const ProposalRequest&) -> Result<ProposalOutcome> {
    ProposalOutcome outcome;
    outcome.refusal = Refusal{"rate-limit", "429"};
    return outcome;
  });
  expect_refused("rate-limit", "429");
}

TEST_F(ProposerTrouble, TheParentUnchanged) {
  // Under another name: what counts is what it does.
  expect_solution_refused(
      [](Solution& solution) {
        solution.sources = solution_of({}).sources;
        solution.name = "brand-new";
      },
      "unchanged", "the parent");
}

TEST_F(ProposerTrouble, EscapingPaths) {
  expect_solution_refused(
      [](Solution& solution) {
        solution.sources.push_back({"../../etc/cron", "x"});
      },
      "path", "../../etc/cron");
}

TEST_F(ProposerTrouble, AbsolutePaths) {
  expect_solution_refused(
      [](Solution& solution) {
        solution.sources.push_back({"/etc/x", "x"});
      },
      "path", "/etc/x");
}

TEST_F(ProposerTrouble, TheSamePathTwice) {
  expect_solution_refused(
      [](Solution& solution) { solution.sources.push_back(solution.sources.front()); }, "malformed",
      "twice");
}

TEST_F(ProposerTrouble, BytesThatAreNoText) {
  expect_solution_refused([](Solution& solution) { solution.sources[0].content += "\xff\xfe"; },
                          "malformed", "UTF-8");
}

TEST_F(ProposerTrouble, TooMuchOfIt) {
  expect_solution_refused(
      [](Solution& solution) { solution.sources[0].content += std::string(9 << 20, ' '); },
      "malformed", "8 MiB");
}

TEST_F(ProposerTrouble, NoSources) {
  expect_solution_refused([](Solution& solution) { solution.sources.clear(); }, "malformed", "");
}

TEST_F(ProposerTrouble, AManifestThatIsNone) {
  expect_solution_refused([](Solution& solution) { solution.fib["entry"] = "missing.cpp"; },
                          "malformed", "missing.cpp");
}

TEST_F(ProposerTrouble, AnotherSignature) {
  expect_solution_refused([](Solution& solution) { solution.definition = "gemm"; }, "malformed",
                          "gemm");
}

TEST_F(ProposerTrouble, WhatWasTriedBefore) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    return outcome_of(changed(request, {.speed = 0.97}));  // always this one
  });
  const RunSummary summary = run();
  // Sometimes it is given what it gave before: then it is its parent unchanged.
  const auto& rejected = summary.tally.rejected();
  EXPECT_EQ(rejected.at("tried-before") + rejected.at("unchanged"), kMostRefusals);
  EXPECT_EQ(bench->builds, 2);
  EXPECT_EQ(records(summary.run).at(2).refusal.message, "is candidate 1 once more");
}

TEST_F(ProposerTrouble, OneThatWorksGoesOnWithoutTheOther) {
  propose_with({wanderer(), std::make_shared<Script>(
                                "rude", [](const ProposalRequest&) -> Result<ProposalOutcome> {
                                  throw std::runtime_error("no");
                                })});
  options.plan.search.lag = 4;
  options.budget.candidates = 150;
  const RunSummary summary = run();
  EXPECT_EQ(summary.end_reason, "budget: 150 candidates");
  EXPECT_GE(summary.tally.proposers().at("rude").refused, 1);
  EXPECT_GT(summary.tally.proposers().at("wander").asked,
            2 * summary.tally.proposers().at("rude").asked);
}

TEST_F(ProposerTrouble, OneThatCantGoOnEndsTheRunWithWhatItSays) {
  propose_with([](const ProposalRequest&) -> Result<ProposalOutcome> {
    return fail(ErrorCode::kEnvironment, "wrong key", "--llm-url", "another key");
  });
  const auto ended = try_run();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().message, "wrong key");
  EXPECT_EQ(archive->runs()->front().state, RunState::kStopped);
  EXPECT_EQ(records(archive->runs()->front().id).size(), 1u);
}

TEST_F(ProposerTrouble, NothingLeftToTry) {
  propose_with([](const ProposalRequest&) -> Result<ProposalOutcome> {
    ProposalOutcome outcome;
    outcome.refusal = Refusal{"exhausted", "all were tried"};
    return outcome;
  });
  const RunSummary summary = run();
  EXPECT_EQ(summary.end_reason, "nothing left to try");
  EXPECT_EQ(summary.tally.candidates(), 2);
  EXPECT_TRUE(summary.set_aside.empty());
}

class Budgets : public RunFixture {
 protected:
  Budgets() { propose_with({wanderer()}); }
  void begin_again(const RunSummary& before) {
    options.resume = before.run;
    open();
  }
};

TEST_F(Budgets, InCandidatesIsExact) {
  options.plan.search.lag = 8;
  options.budget.candidates = 13;
  RunSummary summary = run();
  EXPECT_EQ(summary.tally.candidates(), 14);
  // More may be given to it later; what was used counts.
  begin_again(summary);
  options.budget.candidates = 17;
  summary = run();
  EXPECT_EQ(summary.tally.candidates(), 18);
  EXPECT_EQ(summary.spent.candidates, 17);
  begin_again(summary);
  summary = run();
  EXPECT_EQ(summary.tally.candidates(), 18);
}

TEST_F(Budgets, InTokensAsksNoMoreOnceTheyAreUsedUp) {
  options.plan.search.lag = 1;
  options.budget = {.tokens = 950};  // 100 a proposal
  RunSummary summary = run();
  EXPECT_EQ(summary.end_reason, "budget: 950 tokens");
  EXPECT_EQ(summary.spent.tokens, 1000);
  begin_again(summary);
  options.budget.tokens = 1200;
  summary = run();
  EXPECT_EQ(summary.spent.tokens, 1200);
  EXPECT_EQ(summary.spent.candidates, 12);
}

TEST_F(Budgets, InMoneyIsOvershotByThoseInFlightAtMost) {
  options.plan.search.lag = 4;
  options.budget = {.money = 2.0};  // 0.25 a proposal
  const RunSummary summary = run();
  EXPECT_EQ(summary.end_reason, "budget: 2 of money");
  EXPECT_GE(summary.spent.money, 2.0);
  EXPECT_LE(summary.spent.money, 2.0 + 3 * 0.25);
}

TEST_F(Budgets, InSecondsCountsOverResumes) {
  std::atomic<double> now_s = 1000.0;
  hooks.clock = [&now_s] { return now_s.load(); };
  bench->on_judge = [&now_s] { now_s = now_s + 10.0; };
  options.plan.search.lag = 1;
  options.budget = {.seconds = 60.0};
  const RunSummary summary = run();
  EXPECT_EQ(summary.end_reason, "budget: 60 s");
  EXPECT_GE(summary.spent.seconds, 60.0);
  EXPECT_LE(summary.spent.seconds, 70.0);
  const auto before = summary.tally.candidates();
  // The archive keeps what a clock on the wall says.
  begin_again(summary);
  const Database database = Database::open(folder / "fib.db").value();
  ASSERT_TRUE(database.run("UPDATE runs SET active_s = 61.0"));
  EXPECT_EQ(run().tally.candidates(), before);
  begin_again(summary);
  ASSERT_TRUE(database.run("UPDATE runs SET active_s = 45.0"));
  EXPECT_GT(run().tally.candidates(), before);
}

TEST_F(Budgets, WhenTheTimeIsUpProposalsInFlightAreCancelled) {
  std::atomic<double> now_s = 0.0;
  hooks.clock = [&now_s] { return now_s.load(); };
  propose_with([&now_s](const ProposalRequest& request) -> Result<ProposalOutcome> {
    now_s = 100.0;
    while (!request.cancelled()) std::this_thread::yield();
    return ProposalOutcome{};
  });
  options.budget = {.seconds = 60.0};
  options.plan.search.lag = 3;
  const RunSummary summary = run();
  EXPECT_EQ(summary.end_reason, "budget: 60 s");
  EXPECT_EQ(summary.tally.rejected().at("budget"), summary.spent.candidates);
  EXPECT_TRUE(summary.set_aside.empty());
}

}  // namespace
}  // namespace fib::agents
