// Who needs no paired session: the rule by itself, and the bench on a device that follows a script.

#include "agents/search/race.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/harness/fake_problem.h"
#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kMargin = 0.05;

Speedup exactly(double speedup) { return {speedup, speedup, speedup}; }

TEST(Standing, IsTheWeightedMeanWhereEverythingWasLookedAt) {
  const Leg legs[] = {{.weight = 1.0, .own = Speedup{2.0, 1.8, 2.2}},
                      {.weight = 3.0, .own = Speedup{1.0, 0.9, 1.1}}};
  const Speedup standing = standing_of(legs, kMargin);
  EXPECT_NEAR(standing.middle, std::pow(2.0, 0.25), 1e-9);
  const double width = std::hypot(std::log(2.2 / 1.8), 3.0 * std::log(1.1 / 0.9)) / 2.0 / 4.0;
  EXPECT_NEAR(std::log(standing.high / standing.middle), width, 1e-9);
  EXPECT_NEAR(std::log(standing.middle / standing.low), width, 1e-9);
}

TEST(Standing, NoSessionIsKnownBetterThanToAPercent) {
  const Leg leg{.own = exactly(1.0)};
  const Speedup standing = standing_of({&leg, 1}, kMargin);
  EXPECT_NEAR(standing.high, 1.01, 1e-9);
  EXPECT_NEAR(standing.low, 1.0 / 1.01, 1e-9);
}

TEST(Standing, ElsewhereItIsAboutAsFarFromTheRival) {
  // 10 % behind the rival where it was looked at, of whom it is known that he is fast at the other.
  const Leg legs[] = {{.rival = 1.0, .own = exactly(0.9)}, {.rival = 3.0}};
  const Speedup standing = standing_of(legs, kMargin);
  EXPECT_NEAR(standing.middle, std::sqrt(0.9 * 2.7), 1e-9);
  EXPECT_NEAR(standing.high, std::sqrt(0.9 * 1.01 * 2.7 * 1.01 * 1.05), 1e-9);
  EXPECT_NEAR(standing.low, std::sqrt(0.9 / 1.01 * 2.7 / 1.01 / 1.05), 1e-9);
}

TEST(Standing, TheBestLegSaysWhatMayBeHopedForAndTheWorstWhatIsToBeFeared) {
  const Leg legs[] = {{.own = exactly(1.5)}, {.own = exactly(0.5)}, {.weight = 1e6}};
  const Speedup standing = standing_of(legs, kMargin);
  EXPECT_NEAR(standing.high, 1.5 * 1.01 * 1.05, 1e-4);
  EXPECT_NEAR(standing.low, 0.5 / 1.01 / 1.05, 1e-4);
}

TEST(Standing, TrafficThatNobodySawCountsNextToNothing) {
  const Leg legs[] = {{.weight = 1.0, .own = exactly(1.2)}, {.weight = 0.0}};
  EXPECT_NEAR(standing_of(legs, kMargin).high, 1.2 * 1.01, 1e-6);
  const Leg unseen[] = {{.weight = 0.0, .own = exactly(1.2)}};
  EXPECT_NEAR(standing_of(unseen, kMargin).middle, 1.2, 1e-9);
}

// How many of five equal legs are run, and whether the candidate is beaten, if it is as fast as
// `speeds` say.
std::pair<int64_t, bool> outcome_of(const std::vector<double>& speeds, double to_beat = 1.0) {
  RaceCourse course(std::vector<Leg>(speeds.size()), to_beat, kMargin);
  while (const auto leg = course.next()) course.add(exactly(speeds[*leg]));
  return {course.legs_run(), course.is_beaten()};
}

TEST(RaceCourse, EndsAsSoonAsItIsDecided) {
  const auto all = [](double speed) { return std::vector<double>(5, speed); };
  EXPECT_EQ(outcome_of(all(0.9)), std::pair(int64_t{3}, true));
  EXPECT_EQ(outcome_of(all(1.5)), std::pair(int64_t{5}, false));
  // Near the best all have to be looked at, and one that may be as good goes on.
  EXPECT_EQ(outcome_of(all(0.99)), std::pair(int64_t{5}, true));
  EXPECT_EQ(outcome_of(all(0.997)), std::pair(int64_t{5}, false));
  EXPECT_EQ(outcome_of(all(1.0)), std::pair(int64_t{5}, false));
  // What is best first gives hope, for a while.
  EXPECT_EQ(outcome_of({1.1, 0.8, 0.8, 0.8, 0.8}), std::pair(int64_t{3}, true));
  // A good one that is worst first is not thrown away.
  EXPECT_FALSE(outcome_of({0.99, 1.1, 1.1, 1.1, 1.1}).second);
  EXPECT_TRUE(outcome_of(all(1.5), 2.0).second);
}

TEST(RaceCourse, SmallWorkloadsAloneDontDecide) {
  EXPECT_EQ(outcome_of({0.8, 0.9, 2.0, 1.0, 1.0}), std::pair(int64_t{5}, false));
  EXPECT_EQ(outcome_of({0.8, 0.9, 1.1, 1.0, 1.0}), std::pair(int64_t{4}, true));
  EXPECT_EQ(outcome_of({0.9, 0.9}), std::pair(int64_t{2}, true));
}

// ---- The bench.

// A device on which every call takes as long as the script says.
struct Script {
  std::map<std::string, std::map<int64_t, double>> times_ns;  // by solution and rows; 1000
  std::set<std::pair<std::string, int64_t>> wrong, unmeasurable;
  std::optional<int64_t> dies_at;  // rows
  bool is_dead = false;

  std::vector<int64_t> measured;  // rows
  std::set<size_t> value_sets;    // how many a measurement had
  std::vector<size_t> contenders;
};

class ScriptedSession : public Session {
 public:
  ScriptedSession(Script& script, DeviceInfo device)
      : script_(script), device_(std::move(device)) {}
  const DeviceInfo& device() const override { return device_; }

  Result<std::vector<ContenderOutcome>> measure(const MeasureRequest& request) override {
    const int64_t rows = request.problem.axes.at("batch_size");
    script_.measured.push_back(rows);
    script_.value_sets.insert(request.value_sets.size());
    script_.contenders.push_back(request.contenders.size());
    script_.is_dead = script_.is_dead || rows == script_.dies_at;
    std::vector<ContenderOutcome> outcomes;
    for (uint32_t i = 0; i < request.contenders.size(); ++i) {
      const std::string& name = request.contenders[i]->solution_key;
      if (script_.is_dead || script_.unmeasurable.contains({name, rows})) {
        return fail(ErrorCode::kEnvironment, "the device doesn't answer");
      }
      outcomes.push_back(FIB_TRY(outcome_of(request, i, name, rows)));
    }
    return outcomes;
  }

 private:
  Result<ContenderOutcome> outcome_of(const MeasureRequest& request, uint32_t index,
                                      const std::string& name, int64_t rows) {
    const ExpectedPtr expected = FIB_TRY(request.expected(0));
    const ReferenceValues& exact = expected->outputs.front().exact;
    std::vector<float> values(exact.values.begin(), exact.values.end());
    if (script_.wrong.contains({name, rows})) values.front() += 100.0f;
    ContenderOutcome outcome;
    outcome.checks = {compare_output(DType::kFloat32, std::as_bytes(std::span(values)), exact, 0.05,
                                     [](int64_t n, const auto& body) { body(0, n); })};
    outcome.worst_honest_ratio = {0.0};
    const auto& told = script_.times_ns[name];
    const auto time = told.find(rows);
    ModeTiming timing;
    for (uint32_t round = 0; round < 10; ++round) {
      timing.samples.push_back({.time_ns = time == told.end() ? 1000.0 : time->second,
                                .contender = index,
                                .round = round});
    }
    outcome.timings = {timing};
    return outcome;
  }

  Script& script_;
  const DeviceInfo device_;
};

class ScriptedRunner : public Runner {
 public:
  explicit ScriptedRunner(Script& script) : script_(script) {}
  std::string_view target() const override { return "fake"; }
  Support available() const override { return {.ok = true}; }
  Support supports(const Solution&, const Signature&) const override { return {.ok = true}; }
  std::vector<DeviceInfo> devices() const override { return {{.target = "fake", .key = "FAKE"}}; }
  Result<BuildOutcome> build(const BuildRequest& request) override {
    auto artifact = std::make_shared<Artifact>();
    artifact->solution_key = request.solution.name;
    return BuildOutcome{.artifact = artifact};
  }
  Result<std::unique_ptr<Session>> open_session(int) override {
    return std::make_unique<ScriptedSession>(script_, devices().front());
  }

 private:
  Script& script_;
};

class RaceTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows[] = {1, 4, 16, 64, 256};

  LiveBenchOptions options() {
    LiveBenchOptions options{.runner = runner_,
                             .devices = runner_.devices(),
                             .problems = {},
                             .baseline = testing::small_solution("baseline"),
                             .evaluation = {.measure = {.value_sets = 3, .seed = 7}},
                             .expected = expected_,
                             .store = *store_};
    for (const int64_t rows : kRows) options.problems.push_back(testing::small_problem(rows));
    options.screening.workload = "b16";
    return options;
  }
  // `speeds` by rows; 1 where nothing is said. What is measured is noted from the race on.
  Result<Race> race(const std::map<int64_t, double>& speeds, const Rival& rival = {}) {
    for (const auto& [rows, speed] : speeds) script_.times_ns["mine"][rows] = 1000.0 / speed;
    if (!bench_) bench_ = make_live_bench(options()).value();
    const Solution mine = testing::small_solution("mine");
    const BuiltCandidate built = FIB_TRY(bench_->build(mine));
    const Screening screening = FIB_TRY(bench_->screen(0, mine, built));
    EXPECT_EQ(screening.verdict.status, VerdictStatus::kPassed) << screening.verdict.message;
    script_.measured.clear();
    return bench_->race(0, mine, built,
                        {.rival = rival, .screening = screening, .margin = kMargin});
  }
  Race must_race(const std::map<int64_t, double>& speeds, const Rival& rival = {}) {
    auto raced = race(speeds, rival);
    if (!raced) throw std::runtime_error(raced.error().to_string());
    return *std::move(raced);
  }
  static std::map<int64_t, double> everywhere(double speed) {
    std::map<int64_t, double> speeds;
    for (const int64_t rows : kRows) speeds[rows] = speed;
    return speeds;
  }

  Script script_;
  ScriptedRunner runner_{script_};
  ScratchFolder folder_;
  std::unique_ptr<Store> store_ = Store::open(folder_ / "fib.db").value();
  ExpectedCache expected_{{}, 0, size_t{1} << 24};
  std::unique_ptr<Bench> bench_;
};

TEST_F(RaceTest, LooksAtBothEndsDecideWhatIsPlain) {
  const Race slow = must_race(everywhere(0.9));
  EXPECT_TRUE(slow.is_beaten);
  EXPECT_EQ(slow.workloads, 3);
  EXPECT_THAT(script_.measured, ElementsAre(256, 1));
  EXPECT_NEAR(slow.speedup, 0.9, 1e-9);
  EXPECT_LT(slow.speedup_high, 1.0);
  EXPECT_LT(slow.speedup_low, 0.9 / 1.02);
}

TEST_F(RaceTest, NearTheBestEveryWorkloadIsLookedAtBriefly) {
  script_.value_sets.clear();
  const Race race = must_race(everywhere(0.985));
  EXPECT_TRUE(race.is_beaten);
  EXPECT_EQ(race.workloads, 5);
  // As far as possible from all that were looked at before.
  EXPECT_THAT(script_.measured, ElementsAre(256, 1, 64, 4));
  EXPECT_THAT(script_.value_sets, ElementsAre(1u));
  EXPECT_THAT(script_.contenders, ::testing::Each(2u));
  ASSERT_EQ(race.verdicts.size(), 5u);
  EXPECT_EQ(race.verdicts[0].workload, "b16");
  EXPECT_EQ(race.verdicts[1].workload, "b256");
  EXPECT_NEAR(race.verdicts[1].speedup.value(), 0.985, 1e-9);
  EXPECT_TRUE(race.verdicts[1].samples.empty());
  EXPECT_GT(race.device_s, 0.0);
  EXPECT_EQ(store_->count_verdicts().value(), 0);  // looks, no verdicts
}

TEST_F(RaceTest, WhoMayBeAsGoodIsNotBeaten) {
  const Race race = must_race({});
  EXPECT_FALSE(race.is_beaten);
  EXPECT_EQ(race.workloads, 5);
  EXPECT_NEAR(race.speedup, 1.0, 1e-9);
}

TEST_F(RaceTest, TheHeaviestWorkloadSaysMost) {
  LiveBenchOptions weighted = options();
  weighted.problems[3].workload.weight = 1000.0;
  bench_ = make_live_bench(std::move(weighted)).value();
  auto speeds = everywhere(1.04);
  speeds[64] = 0.98;
  EXPECT_TRUE(must_race(speeds).is_beaten);
  EXPECT_THAT(script_.measured, ElementsAre(64, 1));
}

TEST_F(RaceTest, ARivalIsMetWhereHeIsStrong) {
  // He is twice as fast on the largest alone. So is the candidate, and nobody would think so who
  // saw the others only.
  const Rival rival{
      .speedup_low = 1.14,
      .speedups = {{"b1", 1.0}, {"b4", 1.0}, {"b16", 1.0}, {"b64", 1.0}, {"b256", 2.0}}};
  EXPECT_FALSE(must_race({{256, 2.1}}, rival).is_beaten);
  auto speeds = everywhere(0.9);
  speeds[256] = 1.8;
  const Race slow = must_race(speeds, rival);
  EXPECT_TRUE(slow.is_beaten);
  EXPECT_NEAR(slow.speedup, 0.9 * std::pow(2.0, 0.2), 1e-9) << "also where it wasn't looked at";
}

TEST_F(RaceTest, AWrongAnswerEndsIt) {
  script_.wrong = {{"mine", 1}};
  const Race race = must_race({});
  EXPECT_FALSE(race.is_beaten);
  EXPECT_THAT(script_.measured, ElementsAre(256, 1));
  EXPECT_EQ(race.verdicts.back().status, VerdictStatus::kIncorrectNumerical);
  EXPECT_EQ(race.verdicts.back().workload, "b1");
}

TEST_F(RaceTest, WhatCantBeTimedIsLeftToTheJudge) {
  auto speeds = everywhere(0.985);
  speeds[256] = 2000.0;  // half a nanosecond is no time
  const Race race = must_race(speeds);
  EXPECT_FALSE(race.is_beaten);
  EXPECT_EQ(race.workloads, 1);
  EXPECT_THAT(script_.measured, ElementsAre(256));
  EXPECT_EQ(race.verdicts.back().status, VerdictStatus::kPassed);
}

TEST_F(RaceTest, WhoCantBeMeasuredHasFailed) {
  script_.unmeasurable = {{"mine", 256}};
  const Race race = must_race({});
  EXPECT_EQ(race.verdicts.back().reason, "crash");
  EXPECT_EQ(race.verdicts.back().workload, "b256");
}

TEST_F(RaceTest, ADeviceThatIsGoneEndsTheRun) {
  script_.dies_at = 1;
  const auto raced = race({});
  ASSERT_FALSE(raced);
  EXPECT_THAT(raced.error().to_string(), HasSubstr("the device doesn't answer"));
}

}  // namespace
}  // namespace fib::agents
