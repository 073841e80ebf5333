// A run that is stopped or killed goes on where it stood: its archive is the same, to the byte, as
// that of a run that nobody disturbed, whatever came in first.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agents/search/run_fixture.h"

namespace fib::agents {
namespace {

class Resume : public RunFixture {
 protected:
  Resume() {
    bench = std::make_unique<FakeBench>(2, 3);
    options.plan.seeds.push_back(solution_of({.speed = 1.1}, "other"));
    options.plan.search.lag = 5;
    options.plan.search.migration_interval = 7;
    options.plan.staging.control_share = 0.5;
    options.plan.staging.confirm_interval = 8;
    options.budget.candidates = 60;
    propose_with({wanderer("a"), wanderer("b")});
  }

  std::vector<std::string> undisturbed() {
    open("undisturbed.db");
    const auto lines = lasting(run().run);
    EXPECT_EQ(lines.size(), 62u);
    return lines;
  }
  // The same run begun in a store of its own and stopped once `count` candidates are sealed.
  RunSummary stopped_at(int64_t count) {
    open("stopped-" + std::to_string(count) + ".db");
    options.resume.reset();
    int64_t sealed = 0;
    hooks.on_candidate = [&](const CandidateRecord&) { ++sealed; };
    hooks.cancelled = [&] { return sealed >= count; };
    RunSummary summary = run();
    hooks = {};
    return summary;
  }
};

TEST_F(Resume, ThreadsDontMatter) {
  const auto first = undisturbed();
  bench = std::make_unique<FakeBench>(1, 1);
  open("again.db");
  EXPECT_EQ(lasting(run().run), first);
}

TEST_F(Resume, AStoppedRunGoesOnExactly) {
  const auto whole = undisturbed();
  for (const int64_t count : {0, 1, 2, 3, 9, 24, 50}) {
    const RunSummary stopped = stopped_at(count);
    EXPECT_EQ(stopped.state, RunState::kStopped);
    EXPECT_EQ(stopped.end_reason, "interrupted");
    const auto part = lasting(stopped.run);
    ASSERT_GE(static_cast<int64_t>(part.size()), count);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << count;
    open("stopped-" + std::to_string(count) + ".db");
    const RunPlan stored = stored_plan(*archive, *store, stopped.run).value();
    EXPECT_EQ(stored.search.to_json(), options.plan.search.to_json());
    RunOptions again = options;
    again.plan = stored;
    again.resume = stopped.run;
    const auto resumed = run_search({*bench, proposers, *archive, *store}, again);
    ASSERT_TRUE(resumed) << resumed.error().to_string();
    EXPECT_EQ(resumed->state, RunState::kFinished);
    EXPECT_EQ(lasting(stopped.run), whole) << count;
  }
}

TEST_F(Resume, AKilledProcessLosesNothing) {
  // Forked before this process has threads of its own.
  archive.reset();
  store.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    open();
    hooks.on_candidate = [](const CandidateRecord& record) {
      if (record.number == 20) ::_exit(9);
    };
    (void)try_run();
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 9);
  open();
  const RunRecord killed = archive->runs()->front();
  EXPECT_EQ(killed.state, RunState::kStopped);
  options.resume = killed.id;
  run();
  const auto resumed = lasting(killed.id);
  options.resume.reset();
  EXPECT_EQ(resumed, undisturbed());
}

TEST_F(Resume, OnlyWhereItWasBegun) {
  const RunSummary stopped = stopped_at(5);
  open("stopped-5.db");
  options.resume = stopped.run;
  options.hardware_key = "another machine";
  const auto refused = try_run();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().to_string().find("a machine"), std::string::npos);
  EXPECT_EQ(archive->run(stopped.run)->state, RunState::kStopped);
}

TEST_F(Resume, NotWhatSomebodyHas) {
  const RunSummary stopped = stopped_at(5);
  open("stopped-5.db");
  const auto other = RunArchive::open(folder / "stopped-5.db").value();
  ASSERT_TRUE(other->resume(stopped.run));
  options.resume = stopped.run;
  EXPECT_EQ(try_run().error().code, ErrorCode::kConflict);
}

TEST(StagingJson, IsReadStrictly) {
  const Json json = Staging{.slow_margin = 0.1}.to_json();
  EXPECT_EQ(Staging::from_json(json, "x")->to_json(), json);
  Json broken = json;
  broken["slow"] = 1;
  EXPECT_FALSE(Staging::from_json(broken, "x"));
  broken = json;
  broken["race"] = 1;
  EXPECT_FALSE(Staging::from_json(broken, "x"));
}

TEST(StagingJson, ARunThatWasBegunBeforeThereWereRacesGoesOnWithout) {
  Json old = Staging{}.to_json();
  EXPECT_TRUE(Staging::from_json(old, "x")->has_race);
  old.erase("race");
  old.erase("race_margin");
  EXPECT_FALSE(Staging::from_json(old, "x")->has_race);
}

}  // namespace
}  // namespace fib::agents
