// The loop: stages, duplicates, confirmations, devices, what becomes of trouble on the bench.

#include "agents/search/run.h"

#include <gmock/gmock.h>

#include "tests/agents/search/run_fixture.h"

namespace fib::agents {
namespace {

using ::testing::HasSubstr;

using RunSearch = RunFixture;

// Each candidate is 0.25 faster than its parent.
Result<ProposalOutcome> climb(const ProposalRequest& request) {
  Nature nature = Nature::of(request.parent.solution);
  nature.code.clear();
  nature.speed += 0.25 + static_cast<double>(request.seed % 1000) * 1e-6;
  return outcome_of(changed(request, nature), "faster");
}

TEST_F(RunSearch, FindsWhatIsFasterAndConfirmsIt) {
  propose_with(climb);
  options.plan.search.lag = 1;
  int seen = 0;
  hooks.on_candidate = [&](const CandidateRecord& record) {
    if (record.is_confirmed) return;  // once more
    EXPECT_EQ(record.number, seen++);
  };
  const RunSummary summary = run();
  EXPECT_EQ(summary.state, RunState::kFinished);
  EXPECT_EQ(summary.end_reason, "budget: 20 candidates");
  EXPECT_EQ(summary.spent.candidates, 20);
  EXPECT_EQ(summary.tally.candidates(), 21);
  ASSERT_TRUE(summary.best);
  EXPECT_GT(summary.best->speedup, 3.0);
  EXPECT_TRUE(summary.best->is_confirmed);
  EXPECT_EQ(archive->run(summary.run)->state, RunState::kFinished);
  EXPECT_EQ(archive->run(summary.run)->end_reason, summary.end_reason);
  const auto all = records(summary.run);
  ASSERT_EQ(all.size(), 21u);
  EXPECT_EQ(all[0].proposer, "seed");
  EXPECT_EQ(all[0].stage, CandidateStage::kJudged);
  EXPECT_EQ(all[static_cast<size_t>(summary.best->number)].stage, CandidateStage::kConfirmed);
  const Json json = summary.to_json();
  EXPECT_EQ(json["best"]["number"], summary.best->number);
  EXPECT_EQ(json["candidates"], 21);
}

TEST_F(RunSearch, ACandidateSaysHonestlyWhereItIsFrom) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    Solution solution = changed(request, {.speed = 2.0 + static_cast<double>(request.seed % 9999)});
    solution.name = "mine";
    solution.author = "a famous person";
    solution.fib["license"] = "Proprietary";
    return outcome_of(solution, "two\nlines");
  });
  options.budget.candidates = 1;
  const RunSummary summary = run();
  const CandidateRecord record = records(summary.run).at(1);
  EXPECT_EQ(record.solution_name, fmt::format("plain-r{}-1", summary.run));
  EXPECT_EQ(record.note, "two lines");
  EXPECT_EQ(record.cost.prompt_tokens, 60);
  const Solution solution = store->solution(record.solution_key).value();
  EXPECT_EQ(solution.name, record.solution_name);
  EXPECT_EQ(solution.author, "fib agent");
  EXPECT_EQ(solution.fib["license"], "MIT");
  EXPECT_THAT(solution.description, HasSubstr("script"));
  EXPECT_THAT(solution.description, HasSubstr("plain (somebody)"));
}

TEST_F(RunSearch, EachStageEndsWhatItCan) {
  int asked = 0;
  propose_with([&asked](const ProposalRequest& request) -> Result<ProposalOutcome> {
    const Nature natures[] = {{.trouble = "broken"},
                              {.trouble = "wrong"},
                              {.speed = 0.5},
                              {.speed = 0.6},
                              {.speed = 1.5, .trouble = "late-wrong"},
                              {.speed = 1.25},
                              {.speed = 1.2},
                              {.speed = 1.3, .trouble = "race-wrong"}};
    return outcome_of(changed(request, natures[asked++]));
  });
  options.plan.search.lag = 1;
  options.budget.candidates = 8;
  const RunSummary summary = run();
  const auto all = records(summary.run);
  const auto expect = [&](size_t number, CandidateStage stage, CandidateFate fate,
                          const std::string& reason) {
    EXPECT_EQ(all[number].stage, stage) << number;
    EXPECT_EQ(all[number].fate, fate) << number;
    EXPECT_EQ(all[number].refusal.reason, reason) << number;
  };
  expect(1, CandidateStage::kBuilt, CandidateFate::kFailed, "compile-error");
  EXPECT_EQ(all[1].refusal.message, "solution.cpp:1: error: no");
  expect(2, CandidateStage::kScreened, CandidateFate::kFailed, "incorrect-numerical");
  expect(3, CandidateStage::kScreened, CandidateFate::kSlow, "slow");
  EXPECT_EQ(all[3].screen_speedup, 0.5);
  expect(4, CandidateStage::kScreened, CandidateFate::kSlow, "slow");
  expect(5, CandidateStage::kJudged, CandidateFate::kFailed, "crash");
  expect(6, CandidateStage::kConfirmed, CandidateFate::kMeasured, "");
  expect(7, CandidateStage::kRaced, CandidateFate::kSlow, "beaten");
  EXPECT_EQ(all[7].speedup, 1.2);
  EXPECT_EQ(all[7].speedup_high, 1.2 * 1.02);
  EXPECT_EQ(all[7].device_s, 0.125 + 0.25);
  EXPECT_EQ(all[7].behaviour.relative_error, 1e-4);
  expect(8, CandidateStage::kRaced, CandidateFate::kFailed, "incorrect-numerical");
  EXPECT_EQ(all[8].speedup, 0.0);
  EXPECT_EQ(bench->races, 4);       // of all that weren't slow at once
  EXPECT_EQ(bench->judgements, 3);  // the seed's, the crash and the best
  EXPECT_EQ(summary.tally.early_kills(), 5);
  EXPECT_EQ(summary.tally.rejected().at("slow"), 2);
  EXPECT_EQ(summary.tally.rejected().at("beaten"), 1);
  // Of all but refusals there is something to tell.
  for (size_t number = 1; number <= 8; ++number) EXPECT_FALSE(all[number].feedback.is_null());
}

TEST_F(RunSearch, TheBaselineIsBeatenAtOneWhateverWasMeasuredOfIt) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    return outcome_of(changed(request, {.speed = 0.97}));
  });
  options.plan.search.lag = 1;
  options.budget.candidates = 1;
  const auto all = records(run().run);
  EXPECT_EQ(all[1].fate, CandidateFate::kSlow);
  ASSERT_EQ(bench->rivals.size(), 1u);
  EXPECT_EQ(bench->rivals[0].speedup_low, 1.0);
  EXPECT_TRUE(bench->rivals[0].speedups.empty());
}

TEST_F(RunSearch, ARaceIsAgainstTheBestThatWasKnownWhenItWasDecidedOn) {
  int asked = 0;
  propose_with([&asked](const ProposalRequest& request) -> Result<ProposalOutcome> {
    const double speeds[] = {2.0, 1.9, 3.0, 2.9};
    Nature nature{.speed = speeds[asked++]};
    nature.code_bytes = asked;
    return outcome_of(changed(request, nature));
  });
  options.plan.search.lag = 1;
  options.budget.candidates = 4;
  const auto all = records(run().run);
  ASSERT_EQ(bench->rivals.size(), 4u);
  EXPECT_EQ(bench->rivals[0].speedup_low, 1.0);
  for (const size_t race : {1, 2}) EXPECT_EQ(bench->rivals[race].speedup_low, 2.0 * 0.99);
  EXPECT_EQ(bench->rivals[3].speedup_low, 3.0 * 0.99);
  EXPECT_EQ(all[2].refusal.reason, "beaten");
  EXPECT_THAT(all[2].refusal.message, HasSubstr("slower than candidate 1"));
}

TEST_F(RunSearch, WithoutARaceAllAreJudged) {
  int asked = 0;
  propose_with([&asked](const ProposalRequest& request) -> Result<ProposalOutcome> {
    return outcome_of(changed(request, {.speed = 0.96 + 0.001 * asked++}));
  });
  options.plan.staging.has_race = false;
  options.budget.candidates = 5;
  const RunSummary summary = run();
  EXPECT_EQ(bench->races, 0);
  EXPECT_EQ(bench->judgements, 6);
  EXPECT_EQ(summary.tally.measured(), 6);
}

TEST_F(RunSearch, SeedsAreKnownInFull) {
  options.plan.seeds.push_back(solution_of({.speed = 0.5}, "slow"));
  propose_with({wanderer()});
  options.budget.candidates = 1;
  const auto all = records(run().run);
  EXPECT_EQ(all[1].fate, CandidateFate::kMeasured);
  EXPECT_EQ(all[1].stage, CandidateStage::kJudged);
}

TEST_F(RunSearch, TheRateIsAlsoToldWithoutTheStart) {
  // A clock that stands still but for what is judged: the seed takes a minute, a candidate a
  // second.
  std::atomic<double> now = 0.0;
  hooks.clock = [&] { return now.load(); };
  bench->on_judge = [&] { now = now + (bench->judgements == 1 ? 60.0 : 1.0); };
  propose_with(climb);
  options.plan.search.lag = 1;
  options.plan.staging.most_confirmations = 0;
  options.final_confirmations = 0;
  const RunSummary summary = run();
  EXPECT_EQ(summary.startup_s, 60.0);
  const double seconds = bench->judgements - 1;
  EXPECT_NEAR(summary.steady_candidates_per_hour, 20 / seconds * 3600.0, 1e-9);
  EXPECT_NEAR(summary.candidates_per_hour, 21 / (60.0 + seconds) * 3600.0, 1e-9);
  EXPECT_EQ(summary.to_json()["startup_s"], 60.0);
}

TEST_F(RunSearch, TheSameMachineCodeIsNotTimedAgain) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    Nature nature{.speed = 1.25, .code = "same"};
    nature.code_bytes = static_cast<int64_t>(request.seed % 100000);  // another source each time
    return outcome_of(changed(request, nature));
  });
  options.plan.search.lag = 1;
  options.plan.staging.control_share = 0.0;
  const RunSummary summary = run();
  const auto all = records(summary.run);
  for (size_t number = 2; number < all.size(); ++number) {
    EXPECT_EQ(all[number].fate, CandidateFate::kDuplicate);
    EXPECT_EQ(all[number].duplicate_of, 1);
    EXPECT_EQ(all[number].speedup, 0.0);
  }
  EXPECT_EQ(bench->screenings, 2);
  EXPECT_EQ(bench->judgements, 2);
  EXPECT_EQ(summary.tally.proposers().at("script").duplicates, 19);
  EXPECT_EQ(summary.tally.controls().pairs, 0);
}

TEST_F(RunSearch, SomeDuplicatesAreTimedAsControls) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    // The same program that measures otherwise each time: what differs is noise.
    Nature nature{.speed = request.history->size() % 2 == 0 ? 1.25 : 1.5, .code = "same"};
    nature.code_bytes = static_cast<int64_t>(request.seed % 100000);
    return outcome_of(changed(request, nature));
  });
  options.plan.search.lag = 1;
  options.plan.staging.control_share = 1.0;
  options.budget.candidates = 5;
  const RunSummary summary = run();
  const ControlSpread spread = summary.tally.controls();
  EXPECT_EQ(spread.pairs, 4);
  EXPECT_NEAR(spread.worst, 0.25 / 1.5, 1e-9);
  EXPECT_GT(spread.rms, 0.0);
  EXPECT_EQ(summary.to_json()["controls"]["pairs"], 4);
  // A control wins nothing.
  EXPECT_EQ(summary.best->number, 1);
}

TEST_F(RunSearch, AWinnerThatWasLuckyShrinksAndTheNextOneIsConfirmed) {
  int asked = 0;
  propose_with([&asked](const ProposalRequest& request) -> Result<ProposalOutcome> {
    const Nature natures[] = {{.speed = 1.5, .confirmed = 1.4},
                              {.speed = 2.0, .confirmed = 1.2},
                              {.speed = 3.0, .trouble = "never-confirmed"}};
    return outcome_of(changed(request, natures[asked++]));
  });
  options.plan.search.lag = 1;
  options.budget.candidates = 3;
  const RunSummary summary = run();
  const auto all = records(summary.run);
  EXPECT_EQ(bench->confirmations, 3);
  EXPECT_EQ(all[3].fate, CandidateFate::kFailed);
  EXPECT_EQ(all[3].refusal.reason, "crash");
  EXPECT_TRUE(all[2].is_confirmed);
  EXPECT_EQ(all[2].judged_speedup, 2.0);
  EXPECT_EQ(all[2].speedup, 1.2);
  ASSERT_TRUE(summary.best);
  EXPECT_EQ(summary.best->number, 1);
  EXPECT_TRUE(summary.best->is_confirmed);
  EXPECT_NEAR(summary.to_json()["best"]["shrinkage"].get<double>(), 1.0 - 1.4 / 1.5, 1e-9);
}

TEST_F(RunSearch, ANewBestByMoreThanNoiseIsConfirmedOnTheWay) {
  propose_with(climb);
  options.plan.search.lag = 1;
  options.plan.staging.confirm_interval = 5;
  options.plan.staging.most_confirmations = 2;
  const RunSummary summary = run();
  int confirmed = 0;
  for (const CandidateRecord& record : records(summary.run)) confirmed += record.is_confirmed;
  EXPECT_EQ(confirmed, 3);  // two on the way, and the last
}

TEST_F(RunSearch, NothingIsConfirmedWhereNothingWasGained) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    return outcome_of(changed(
        request, {.speed = 0.96, .code_bytes = 1000 + static_cast<int64_t>(request.seed % 999)}));
  });
  const RunSummary summary = run();
  EXPECT_EQ(bench->confirmations, 0);
  EXPECT_EQ(summary.best->number, 0);
}

TEST_F(RunSearch, SeveralDevicesWorkAtATime) {
  bench = std::make_unique<FakeBench>(3, 2);
  for (int i = 1; i < 3; ++i) options.plan.seeds.push_back(solution_of({.speed = 1.0 + i}));
  // Each of the three seeds waits on its device until all are there.
  std::mutex mutex;
  std::condition_variable met;
  int there = 0;
  bench->on_judge = [&] {
    std::unique_lock lock(mutex);
    ++there;
    met.notify_all();
    EXPECT_TRUE(met.wait_for(lock, std::chrono::seconds(60), [&] { return there >= 3; }));
  };
  propose_with({wanderer()});
  options.plan.search.lag = 6;
  options.budget.candidates = 60;
  const RunSummary summary = run();
  EXPECT_EQ(summary.tally.candidates(), 63);
  EXPECT_GE(summary.device_idle_share, 0.0);
  EXPECT_LE(summary.device_idle_share, 1.0);
  EXPECT_GT(summary.candidates_per_hour, 0.0);
}

TEST_F(RunSearch, SeedsThatAreTheSameCountOnce) {
  options.plan.seeds.push_back(solution_of({}, "another-name"));
  propose_with({wanderer()});
  const auto all = records(run().run);
  EXPECT_EQ(all[1].fate, CandidateFate::kRefused);
  EXPECT_EQ(all[1].refusal.reason, "tried-before");
}

TEST_F(RunSearch, AnErrorOfTheBenchEndsTheRunWhichCanGoOn) {
  int asked = 0;
  propose_with([&asked](const ProposalRequest& request) -> Result<ProposalOutcome> {
    const bool is_gone = ++asked == 3;
    return outcome_of(
        changed(request, {.speed = 1.0 + asked, .trouble = is_gone ? "bench-gone" : ""}));
  });
  options.plan.search.lag = 1;
  options.budget.candidates = 5;
  const auto broken = try_run();
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().message, "the device is gone");
  const RunRecord stopped = archive->runs()->front();
  EXPECT_EQ(stopped.state, RunState::kStopped);
  EXPECT_THAT(stopped.end_reason, HasSubstr("the device is gone"));
  options.resume = stopped.id;
  EXPECT_EQ(run().tally.candidates(), 6);
}

TEST_F(RunSearch, RightWithoutASpeedupIsNoBest) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    return outcome_of(changed(request, {.speed = 3.0, .trouble = "unpaired"}));
  });
  options.budget.candidates = 1;
  const RunSummary summary = run();
  const CandidateRecord unpaired = records(summary.run).back();
  EXPECT_EQ(unpaired.fate, CandidateFate::kFailed);
  EXPECT_EQ(unpaired.refusal.reason, "unpaired");
  EXPECT_THAT(unpaired.refusal.message, HasSubstr("1 of 2 workloads; on a-large-one: too few"));
  EXPECT_EQ(summary.best->number, 0);
}

TEST_F(RunSearch, ABaselineThatGivesNoSpeedupEndsTheRun) {
  propose_with(climb);
  options.plan.seeds = {solution_of({.trouble = "unpaired"})};
  const auto broken = try_run();
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("the baseline is right, but not timed"));
  EXPECT_THAT(broken.error().remedy, HasSubstr("--limit"));
}

TEST_F(RunSearch, WhoIsNoFasterThanTheSeedsIsNoGain) {
  propose_with([](const ProposalRequest& request) -> Result<ProposalOutcome> {
    return outcome_of(changed(request, {.speed = 1.2, .confirmed = 1.001}));
  });
  options.budget.candidates = 1;
  const RunSummary summary = run();
  ASSERT_EQ(summary.best->number, 1) << "by the lower end of its interval";
  EXPECT_FALSE(summary.is_gain);
  EXPECT_EQ(summary.to_json()["best"]["is_gain"], false);
}

TEST_F(RunSearch, ConfirmationsAreShownAsTheyBegin) {
  propose_with(climb);
  options.budget.candidates = 3;
  std::vector<int64_t> confirming;
  hooks.on_progress = [&](const RunProgress& now) {
    if (now.confirming) confirming.push_back(*now.confirming);
  };
  const RunSummary summary = run();
  ASSERT_TRUE(summary.best->is_confirmed);
  EXPECT_EQ(confirming, std::vector{summary.best->number});
  EXPECT_TRUE(summary.is_gain);
}

TEST_F(RunSearch, ABugOfTheBenchIsLoud) {
  options.plan.seeds = {solution_of({.trouble = "bug"})};
  propose_with({wanderer()});
  EXPECT_THROW((void)try_run(), std::logic_error);
}

TEST_F(RunSearch, RefusesWhatMakesNoSense) {
  propose_with({wanderer()});
  RunOptions good = options;
  options.plan.seeds.clear();
  EXPECT_THAT(try_run().error().to_string(), HasSubstr("seeds"));
  options = good;
  options.plan.search.proposers.push_back("llm");
  EXPECT_THAT(try_run().error().to_string(), HasSubstr("'llm'"));
  options = good;
  options.plan.search.lag = 0;
  EXPECT_THAT(try_run().error().to_string(), HasSubstr("lag"));
  options = good;
  options.resume = 77;
  EXPECT_EQ(try_run().error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(archive->runs()->empty());
}

}  // namespace
}  // namespace fib::agents
