#include "harness/evaluate.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <stdexcept>

#include "tests/harness/fake_problem.h"

namespace fib {
namespace {

// A runner that measures nothing: every call takes 1 us and is right, unless told otherwise.
struct FakeRunner : Runner {
  bool is_host = false;
  std::set<std::string> uncompilable;     // solutions
  std::set<std::string> crashing;         // solutions
  std::set<int64_t> unmeasurable;         // batch sizes
  bool has_bug = false;

  std::mutex mutex;
  std::vector<std::string> events;

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
  FakeSession(FakeRunner& r, int index) : runner(r) { info.index = index; }
  const DeviceInfo& device() const override { return info; }
  Result<std::vector<ContenderOutcome>> measure(const MeasureRequest& request) override {
    const int64_t batch = request.problem.axes.at("batch_size");
    const std::string& name = request.contenders[0]->solution_key;
    runner.note("measure " + name + " " + std::to_string(batch));
    if (runner.has_bug) throw std::logic_error("invariant");
    if (runner.unmeasurable.contains(batch)) {
      return fail(ErrorCode::kResourceExhausted, "no memory for the inputs", "device 0");
    }
    ContenderOutcome outcome;
    if (runner.crashing.contains(name)) {
      outcome.fault = Fault{FaultKind::kCrash, "killed by signal 11"};
      return std::vector{outcome};
    }
    for (size_t set = 0; set < request.value_sets.size(); ++set) {
      const ExpectedPtr expected = FIB_TRY(request.expected(set));
      const FloatBuffer& exact = expected->outputs[0].exact.values;
      outcome.checks = {compare_output(DType::kFloat32, std::as_bytes(std::span(exact)),
                                       expected->outputs[0].exact, 0.05,
                                       [](int64_t n, const auto& body) { body(0, n); })};
    }
    outcome.worst_honest_ratio = {0.0};
    ModeTiming timing;
    timing.samples = {{.time_ns = 1000.0}};
    outcome.timings = {timing};
    return std::vector{outcome};
  }
  FakeRunner& runner;
  DeviceInfo info;
};

Result<std::unique_ptr<Session>> FakeRunner::open_session(int index) {
  if (broken_devices.contains(index)) return fail(ErrorCode::kEnvironment, "the device is gone");
  return std::unique_ptr<Session>(std::make_unique<FakeSession>(*this, index));
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
}

}  // namespace
}  // namespace fib
