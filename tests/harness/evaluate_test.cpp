#include "harness/evaluate.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <set>
#include <stdexcept>

#include "tests/harness/fake_problem.h"

namespace fib {
namespace {

// A runner that measures nothing: every call takes 1 us and is right, unless told otherwise. What
// is told of a solution "beside" others holds for sessions with several contenders only.
struct FakeRunner : Runner {
  bool is_host = false;
  std::set<std::string> uncompilable;     // solutions
  std::set<std::string> crashing;         // solutions
  std::set<std::string> crashing_beside;  // solutions
  std::set<int64_t> unmeasurable;         // batch sizes
  bool has_no_room_for_pairs = false;
  std::map<std::string, std::vector<double>> times_ns;  // solutions, by session; the last one stays
  bool has_bug = false;

  std::mutex mutex;
  std::vector<std::string> events;
  std::vector<uint64_t> seeds;  // of the values of each measurement
  size_t sessions = 0;
  size_t most_sessions = SIZE_MAX;  // then the device is gone

  void note(std::string event) {
    std::lock_guard lock(mutex);
    events.push_back(std::move(event));
  }
  std::string_view target() const override { return "fake"; }
  Support available() const override { return {.ok = true}; }
  bool measures_on_host() const override { return is_host; }
  Support supports(const Solution&, const Signature&) const override { return {.ok = true}; }
  std::vector<DeviceInfo> devices() const override { return {}; }
  std::set<int> broken_devices;
  Result<BuildOutcome> build(const BuildRequest& request) override {
    note("build " + request.solution.name);
    if (uncompilable.contains(request.solution.name)) {
      return BuildOutcome{.failure_log = "kernel.cu(1): error"};
    }
    auto artifact = std::make_shared<Artifact>();
    artifact->solution_key = request.solution.name;
    return BuildOutcome{.artifact = artifact};
  }
  Result<std::unique_ptr<Session>> open_session(int index) override;
};

struct FakeSession : Session {
  FakeSession(FakeRunner& r, int index, size_t which) : runner(r), number(which) {
    info.index = index;
  }
  const DeviceInfo& device() const override { return info; }
  Result<std::vector<ContenderOutcome>> measure(const MeasureRequest& request) override {
    const int64_t batch = request.problem.axes.at("batch_size");
    std::string names;
    for (const ArtifactPtr& contender : request.contenders) names += contender->solution_key + " ";
    runner.note("measure " + names + std::to_string(batch));
    seeds.push_back(request.value_sets[0].seed);
    if (runner.has_bug) throw std::logic_error("invariant");
    const bool is_pair = request.contenders.size() > 1;
    if (runner.unmeasurable.contains(batch) || (is_pair && runner.has_no_room_for_pairs)) {
      return fail(ErrorCode::kResourceExhausted, "no memory for the inputs", "device 0");
    }
    std::vector<ContenderOutcome> outcomes;
    for (uint32_t i = 0; i < request.contenders.size(); ++i) {
      outcomes.push_back(FIB_TRY(outcome_of(i, request)));
    }
    return outcomes;
  }
  Result<ContenderOutcome> outcome_of(uint32_t index, const MeasureRequest& request) const {
    const std::string& name = request.contenders[index]->solution_key;
    const auto& crashing = request.contenders.size() > 1 ? runner.crashing_beside : runner.crashing;
    ContenderOutcome outcome;
    if (crashing.contains(name)) {
      outcome.fault = Fault{FaultKind::kCrash, "killed by signal 11"};
      return outcome;
    }
    for (size_t set = 0; set < request.value_sets.size(); ++set) {
      const ExpectedPtr expected = FIB_TRY(request.expected(set));
      const FloatBuffer& exact = expected->outputs[0].exact.values;
      outcome.checks = {compare_output(DType::kFloat32, std::as_bytes(std::span(exact)),
                                       expected->outputs[0].exact, 0.05,
                                       [](int64_t n, const auto& body) { body(0, n); })};
    }
    outcome.worst_honest_ratio = {0.0};
    double time_ns = 1000.0;
    if (const auto told = runner.times_ns.find(name); told != runner.times_ns.end()) {
      time_ns = told->second[std::min(number, told->second.size() - 1)];
    }
    ModeTiming timing;
    for (uint32_t round = 0; round < 10; ++round) {
      timing.samples.push_back({.time_ns = time_ns, .contender = index, .round = round});
    }
    outcome.timings = {timing};
    return outcome;
  }
  FakeRunner& runner;
  size_t number;  // of the sessions that were opened before
  DeviceInfo info;
  std::vector<uint64_t>& seeds = runner.seeds;
};

Result<std::unique_ptr<Session>> FakeRunner::open_session(int index) {
  std::lock_guard lock(mutex);
  if (broken_devices.contains(index) || sessions >= most_sessions) {
    return fail(ErrorCode::kEnvironment, "the device is gone");
  }
  return std::unique_ptr<Session>(std::make_unique<FakeSession>(*this, index, sessions++));
}

class EvaluateTest : public ::testing::Test {
 protected:
  void use_devices(int count) {
    for (int i = 0; i < count; ++i) devices_.push_back({.index = i, .name = "fake", .key = "fake"});
  }
  void add_job(const std::string& name, std::vector<int64_t> batches) {
    EvaluationJob job{.solution = testing::small_solution(name), .problems = {}};
    for (const int64_t batch : batches) job.problems.push_back(testing::small_problem(batch));
    jobs_.push_back(std::move(job));
  }
  // "mine" against "theirs" on one workload, by one verdict.
  Verdict run_pair() {
    use_devices(1);
    add_job("mine", {1});
    jobs_[0].incumbent = testing::small_solution("theirs");
    const auto summary = run();
    EXPECT_TRUE(summary);
    EXPECT_EQ(verdicts_.size(), 1u);
    return verdicts_.at(0);
  }
  Result<EvaluationSummary> run() {
    hooks_.on_verdict = [this](Verdict verdict, const Solution&, const Problem&) -> Result<void> {
      if (store_is_gone_) return fail(ErrorCode::kIo, "disk full", "fib.db");
      verdicts_.push_back(std::move(verdict));
      return {};
    };
    options_.measure.seed = 42;
    return evaluate(runner_, devices_, jobs_, expected_, options_, hooks_);
  }

  FakeRunner runner_;
  std::vector<DeviceInfo> devices_;
  std::vector<EvaluationJob> jobs_;
  ExpectedCache expected_{{}, 0, 1 << 20};
  EvaluationOptions options_;
  EvaluationHooks hooks_;
  std::vector<Verdict> verdicts_;
  bool store_is_gone_ = false;
};

TEST_F(EvaluateTest, EverySolutionAndWorkloadGetsAVerdictAndOneBuild) {
  use_devices(1);
  add_job("a", {1, 2, 3});
  add_job("b", {1, 2, 3});
  const EvaluationSummary summary = run().value();
  EXPECT_EQ(summary.verdicts, 6);
  EXPECT_EQ(summary.passed, 6);
  EXPECT_TRUE(summary.errors.empty());
  EXPECT_EQ(std::count(runner_.events.begin(), runner_.events.end(), "build a"), 1);
  EXPECT_EQ(std::count(runner_.events.begin(), runner_.events.end(), "build b"), 1);
}

TEST_F(EvaluateTest, SeveralDevicesShareTheWork) {
  use_devices(3);
  add_job("a", {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(run().value().verdicts, 8);
  std::set<std::string> workloads;
  for (const Verdict& verdict : verdicts_) workloads.insert(verdict.workload);
  EXPECT_EQ(workloads.size(), 8u);
}

TEST_F(EvaluateTest, OneThatDoesNotCompileAndOneThatCrashesTakeNothingElseDown) {
  use_devices(1);
  runner_.uncompilable = {"a"};
  runner_.crashing = {"b"};
  add_job("a", {1, 2});
  add_job("b", {1});
  add_job("c", {1});
  const EvaluationSummary summary = run().value();
  EXPECT_EQ(summary.verdicts, 4);
  EXPECT_EQ(summary.passed, 1);
  EXPECT_EQ(verdicts_[0].status, VerdictStatus::kCompileError);
  EXPECT_EQ(verdicts_[1].log, "kernel.cu(1): error");
  EXPECT_EQ(verdicts_[2].reason, "crash");
  EXPECT_EQ(verdicts_[3].status, VerdictStatus::kPassed);
}

TEST_F(EvaluateTest, WhatIsDoneIsSkippedAndNotBuilt) {
  use_devices(1);
  add_job("done", {1, 2});
  add_job("new", {1});
  hooks_.already_done = [](const Solution& solution, const Problem&) {
    return solution.name == "done";
  };
  const EvaluationSummary summary = run().value();
  EXPECT_EQ(summary.skipped, 2);
  EXPECT_EQ(summary.verdicts, 1);
  EXPECT_EQ(std::count(runner_.events.begin(), runner_.events.end(), "build done"), 0);
}

TEST_F(EvaluateTest, AProblemThatCannotBeMeasuredIsReportedAndTheRestGoesOn) {
  use_devices(1);
  runner_.unmeasurable = {2};
  add_job("a", {1, 2, 3});
  const EvaluationSummary summary = run().value();
  EXPECT_EQ(summary.verdicts, 2);
  ASSERT_EQ(summary.errors.size(), 1u);
  EXPECT_EQ(summary.errors[0].message, "no memory for the inputs");
}

TEST_F(EvaluateTest, ALostStoreStopsTheRun) {
  use_devices(1);
  add_job("a", {1, 2, 3, 4});
  store_is_gone_ = true;
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "disk full");
  EXPECT_LT(runner_.events.size(), 4u);
}

TEST_F(EvaluateTest, CancelStopsBeforeTheNextMeasurement) {
  use_devices(1);
  add_job("a", {1, 2, 3});
  hooks_.cancelled = [this] { return verdicts_.size() == 1; };
  EXPECT_EQ(run().value().verdicts, 1);
}

TEST_F(EvaluateTest, OnTheHostNothingRunsAheadOfTheMeasurement) {
  runner_.is_host = true;
  use_devices(1);
  add_job("a", {1});
  add_job("b", {1});
  ASSERT_TRUE(run());
  EXPECT_EQ(runner_.events, (std::vector<std::string>{"build a", "measure a 1", "build b",
                                                      "measure b 1"}));
}

TEST_F(EvaluateTest, OurOwnBugsSurface) {
  use_devices(2);
  runner_.has_bug = true;
  add_job("a", {1, 2, 3, 4});
  EXPECT_THROW(std::ignore = run(), std::logic_error);
}

TEST_F(EvaluateTest, NoDeviceIsAnErrorWithARemedy) {
  add_job("a", {1});
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kEnvironment);
  EXPECT_NE(result.error().remedy.find("fib doctor"), std::string::npos);
}

TEST_F(EvaluateTest, DevicesOfTwoKindsAndOneNamedTwiceAreRefused) {
  add_job("a", {1});
  use_devices(2);
  devices_[1].key = devices_[1].name = "other";
  auto result = run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "devices of different kinds in one run: fake and other");
  devices_[1] = devices_[0];
  result = run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "device 0 is named twice");
  EXPECT_TRUE(runner_.events.empty());
}

TEST_F(EvaluateTest, ADeviceThatCannotBeOpenedStopsTheRun) {
  use_devices(2);
  runner_.broken_devices = {1};
  add_job("a", {1, 2, 3, 4});
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "the device is gone");
}

TEST_F(EvaluateTest, AFasterSolutionIsConfirmedInAFreshSessionOnFreshValues) {
  runner_.times_ns = {{"mine", {800.0, 900.0}}, {"theirs", {1000.0}}};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed);
  EXPECT_EQ(verdict.paired, PairedResult::kFaster);
  EXPECT_TRUE(verdict.is_confirmed);
  EXPECT_EQ(verdict.incumbent, "theirs");
  EXPECT_EQ(verdict.incumbent_key, solution_key(testing::small_solution("theirs")));
  EXPECT_NEAR(verdict.speedup.value(), 1000.0 / 900.0, 1e-9) << "of the second session";
  EXPECT_NEAR(verdict.speedup_low.value(), 1000.0 / 900.0, 1e-9);
  EXPECT_NEAR(verdict.noise_floor.value(), 0.01, 1e-9);
  EXPECT_EQ(verdict.paired_note, "");
  ASSERT_EQ(verdict.paired_samples.size(), 2u);
  EXPECT_EQ(verdict.paired_samples[0].samples.size(), 30u);
  EXPECT_EQ(verdict.timing(TimingMode::kCold)->samples, 10) << "timed alone";

  EXPECT_EQ(runner_.sessions, 2u);
  ASSERT_EQ(runner_.seeds.size(), 3u);
  EXPECT_EQ(runner_.seeds[0], runner_.seeds[1]);
  EXPECT_NE(runner_.seeds[0], runner_.seeds[2]);
  const auto times = [&](std::string_view event) {
    return std::count(runner_.events.begin(), runner_.events.end(), event);
  };
  EXPECT_EQ(times("build theirs"), 1);
  EXPECT_EQ(times("measure mine 1"), 1);
  EXPECT_EQ(times("measure mine theirs theirs 1"), 2);
}

TEST_F(EvaluateTest, AGainThatDoesNotRepeatIsAmbiguous) {
  runner_.times_ns = {{"mine", {800.0, 1000.0}}};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.paired, PairedResult::kAmbiguous);
  EXPECT_FALSE(verdict.is_confirmed);
  EXPECT_NEAR(verdict.speedup.value(), 1.0, 1e-9);
  EXPECT_EQ(verdict.paired_note, "faster at first (1.250x), not when timed again");
}

TEST_F(EvaluateTest, OnlyAFasterSolutionIsTimedAgain) {
  runner_.times_ns = {{"mine", {1500.0}}};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.paired, PairedResult::kSlower);
  EXPECT_FALSE(verdict.is_confirmed);
  EXPECT_EQ(runner_.sessions, 1u);
}

TEST_F(EvaluateTest, AnIncumbentThatFailsIsToldAndDoesNotHurt) {
  runner_.crashing_beside = {"theirs"};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed);
  EXPECT_EQ(verdict.paired, PairedResult::kNone);
  EXPECT_FALSE(verdict.speedup);
  EXPECT_EQ(verdict.paired_note,
            "the incumbent 'theirs' did not pass itself, RUNTIME_ERROR (crash): killed by signal "
            "11");
}

TEST_F(EvaluateTest, WhereBothFailTheIncumbentIsToBlame) {
  runner_.crashing_beside = {"mine", "theirs"};
  EXPECT_EQ(run_pair().status, VerdictStatus::kPassed);
}

TEST_F(EvaluateTest, ACandidateThatFailsBesideTheIncumbentFails) {
  runner_.crashing_beside = {"mine"};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.reason, "crash");
  EXPECT_EQ(verdict.paired, PairedResult::kNone);
  EXPECT_EQ(verdict.incumbent, "theirs");
  EXPECT_EQ(verdict.paired_note, "it failed while it was timed beside 'theirs'");
}

TEST_F(EvaluateTest, WhatKeepsAPairFromBeingTimedIsANote) {
  runner_.has_no_room_for_pairs = true;
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed);
  EXPECT_NE(verdict.paired_note.find("no memory for the inputs"), std::string::npos);
}

TEST_F(EvaluateTest, AnIncumbentThatDoesNotCompileIsTold) {
  runner_.uncompilable = {"theirs"};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed);
  EXPECT_EQ(verdict.paired_note, "the incumbent 'theirs' was not built");
  EXPECT_NE(verdict.log.find("kernel.cu(1): error"), std::string::npos);
}

TEST_F(EvaluateTest, AFailingCandidateIsNotPaired) {
  runner_.crashing = {"mine"};
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.reason, "crash");
  EXPECT_EQ(verdict.paired_note, "only what passes is paired");
}

TEST_F(EvaluateTest, AnInterruptedPairIsKeptUnconfirmed) {
  runner_.times_ns = {{"mine", {800.0}}};
  hooks_.cancelled = [this] { return runner_.seeds.size() == 2; };  // alone and side by side
  const Verdict verdict = run_pair();
  EXPECT_EQ(verdict.paired, PairedResult::kFaster);
  EXPECT_FALSE(verdict.is_confirmed);
  EXPECT_EQ(verdict.paired_note, "interrupted before it was confirmed");
}

TEST_F(EvaluateTest, AVerdictOutlivesTheDeviceThatShouldConfirmIt) {
  runner_.times_ns = {{"mine", {800.0}}};
  runner_.most_sessions = 1;
  use_devices(1);
  add_job("mine", {1, 2});
  jobs_[0].incumbent = testing::small_solution("theirs");
  const auto summary = run();
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().message, "the device is gone");
  ASSERT_EQ(verdicts_.size(), 1u);
  EXPECT_FALSE(verdicts_[0].is_confirmed);
  EXPECT_NE(verdicts_[0].paired_note.find("not confirmed"), std::string::npos);
}

TEST(EvaluationOptions, TheConfigurationKeyIgnoresTheSeedAndSeesTheSignature) {
  const SignaturePtr signature = testing::small_rmsnorm();
  EvaluationOptions a, b;
  b.measure.seed = 99;
  EXPECT_EQ(a.config_key(*signature), b.config_key(*signature));
  b.measure.value_sets = 9;
  EXPECT_NE(a.config_key(*signature), b.config_key(*signature));
  Signature stricter = *signature;
  stricter.fib.tolerances["output"].honest_factor = 1.5;
  EXPECT_NE(a.config_key(stricter), a.config_key(*signature));
  Signature sorted = *signature;
  sorted.fib.capacity_axes = {"batch_size"};
  EXPECT_EQ(a.config_key(sorted), a.config_key(*signature)) << "nothing is measured by it";
}

}  // namespace
}  // namespace fib
