#include "harness/judge.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/harness/fake_problem.h"
#include "harness/roofline.h"

namespace fib {
namespace {

class JudgeTest : public ::testing::Test {
 protected:
  JudgeTest() : problem_(testing::small_problem(4)), solution_(testing::small_solution("s")) {
    plan_ = plan_inputs(problem_).value();
    inputs_ = with_seed(plan_, 1);
    device_.name = "Test Device";
    device_.target = "cuda";
    device_.bandwidth_gbps = 1.0;  // floor of 272 bytes: 272 ns
    device_.fp32_tflops = 1.0;
    device_.l2_bytes = 0;
    device_.ceilings_source = "datasheet";
    ErrorStats good{.count = 32};
    good.sum_squared_reference = 32.0;
    good.sum_squared_error = 1e-6;
    outcome_.checks = {good};
    outcome_.worst_honest_ratio = {1.0};
    outcome_.calls_checked = outcome_.calls_timed = 21;
    ModeTiming cold;
    cold.clock = Clock::kCupti;
    for (int i = 0; i < 21; ++i) cold.samples.push_back({.time_ns = 1000.0 + i});
    outcome_.timings = {cold};
  }

  Verdict judged() const {
    return judge({.problem = problem_,
                  .solution = solution_,
                  .artifact = artifact_,
                  .device = device_,
                  .outcome = outcome_,
                  .inputs = inputs_,
                  .expected = nullptr});
  }

  Problem problem_;
  Solution solution_;
  InputPlan plan_;
  InputSet inputs_;
  Artifact artifact_;
  DeviceInfo device_;
  ContenderOutcome outcome_;
};

TEST_F(JudgeTest, AGoodOutcomePassesWithItsRoofline) {
  const Verdict verdict = judged();
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed) << verdict.message;
  EXPECT_DOUBLE_EQ(verdict.timing(TimingMode::kCold)->latency_ns.median, 1010.0);
  EXPECT_DOUBLE_EQ(verdict.roofline.floor_ns, 4 * 4 * 8 + 2 * 8);
  EXPECT_NEAR(verdict.roofline.fraction, 144.0 / 1010.0, 1e-12);
  EXPECT_EQ(verdict.roofline.bound, "memory");
  EXPECT_EQ(verdict.axes, Json({{"batch_size", 4}}));
}

TEST_F(JudgeTest, DroppedPrecisionFailsWhereTheElementBoundWouldLetItPass) {
  outcome_.worst_honest_ratio = {2.5};
  const Verdict verdict = judged();
  EXPECT_EQ(verdict.status, VerdictStatus::kIncorrectNumerical);
  EXPECT_EQ(verdict.reason, "precision");
  EXPECT_NE(verdict.message.find("2.50 times"), std::string::npos) << verdict.message;
}

TEST_F(JudgeTest, OfIntegersItSaysThatTheyMustBeEqual) {
  problem_.outputs[0].dtype = DType::kInt32;
  outcome_.checks[0].elements_over_bound = 1;
  outcome_.checks[0].first_bad_index = 17;
  const Verdict verdict = judged();
  EXPECT_EQ(verdict.reason, "wrong-values");
  EXPECT_NE(verdict.message.find("judged exactly; first bad position output[2, 1]"),
            std::string::npos)
      << verdict.message;
}

TEST_F(JudgeTest, WrongValuesNameTheFirstPosition) {
  outcome_.checks[0].elements_over_bound = 3;
  outcome_.checks[0].first_bad_index = 17;
  const Verdict verdict = judged();
  EXPECT_EQ(verdict.status, VerdictStatus::kIncorrectNumerical);
  EXPECT_EQ(verdict.reason, "wrong-values");
  EXPECT_NE(verdict.message.find("output[2, 1]"), std::string::npos) << verdict.message;
}

TEST_F(JudgeTest, NanMismatchComesBeforeEverythingElse) {
  outcome_.checks[0].nonfinite_mismatches = 1;
  outcome_.checks[0].first_bad_index = 31;
  outcome_.worst_honest_ratio = {1e9};
  EXPECT_EQ(judged().reason, "nonfinite-mismatch");
}

TEST_F(JudgeTest, EveryFaultHasAStatus) {
  const std::pair<FaultKind, VerdictStatus> expected[] = {
      {FaultKind::kCrash, VerdictStatus::kRuntimeError},
      {FaultKind::kTimeout, VerdictStatus::kTimeout},
      {FaultKind::kPlanTooMuch, VerdictStatus::kRuntimeError},
      {FaultKind::kKernelNotFound, VerdictStatus::kCompileError},
      {FaultKind::kOutOfBounds, VerdictStatus::kRuntimeError},
      {FaultKind::kUnstableOutput, VerdictStatus::kIncorrectNumerical}};
  for (const auto& [kind, status] : expected) {
    outcome_.fault = Fault{kind, "why"};
    const Verdict verdict = judged();
    EXPECT_EQ(verdict.status, status) << fault_kind_name(kind);
    EXPECT_EQ(verdict.reason, fault_kind_name(kind));
    EXPECT_EQ(verdict.message, "why");
  }
}

TEST_F(JudgeTest, FasterThanPhysicsIsRefused) {
  for (Sample& sample : outcome_.timings[0].samples) sample.time_ns = 50.0;
  EXPECT_EQ(judged().reason, "faster-than-physics");
  device_.ceilings_source = "measured";  // a measured ceiling is no limit of physics
  EXPECT_EQ(judged().status, VerdictStatus::kPassed);
  // But a time of next to nothing is no measurement: the batch's overhead was taken for too much.
  for (Sample& sample : outcome_.timings[0].samples) sample.time_ns = 1.0;
  EXPECT_EQ(judged().reason, "faster-than-physics");
}

TEST_F(JudgeTest, OutputsThatStayInTheCacheDontCountAgainstPhysics) {
  const CallCost cost = call_cost(problem_, inputs_).value();
  const double all = impossible_below_ns(cost, device_);
  device_.l2_bytes = 1 << 20;
  EXPECT_NEAR(all - impossible_below_ns(cost, device_), 0.9 * 64.0, 1e-9);
}

TEST_F(JudgeTest, AnOutputThatWasNotComparedInFullDoesNotPass) {
  outcome_.checks[0].count = 31;  // of 32
  EXPECT_EQ(judged().reason, "not-measured");
  outcome_.checks[0].count = 32;
  outcome_.worst_honest_ratio = {std::nan("")};
  EXPECT_EQ(judged().reason, "precision");
}

TEST_F(JudgeTest, WhatIsWrongIsSaidToBeSoWithoutATiming) {
  outcome_.timings.clear();
  EXPECT_EQ(judged().reason, "not-measured");
  outcome_.checks[0].elements_over_bound = 1;
  outcome_.checks[0].first_bad_index = 9;
  EXPECT_EQ(judged().reason, "wrong-values");
  EXPECT_EQ(judged().status, VerdictStatus::kIncorrectNumerical);
}

TEST_F(JudgeTest, DrawsAreJudgedByTheirRecord) {
  auto signature = std::make_shared<Signature>(*problem_.signature);
  signature->fib.tolerances["output"] = {.rule = Tolerance::Rule::kDistribution};
  problem_.signature = signature;
  outcome_.worst_honest_ratio = {99.0};  // means nothing of draws
  outcome_.draws.resize(1);
  EXPECT_EQ(judged().status, VerdictStatus::kPassed) << judged().message;

  DrawCheck same;
  same.ranks.by_value = same.ranks.by_likelihood = std::vector<double>(50, 0.5);
  outcome_.draws[0].add(same, 0);
  EXPECT_EQ(judged().reason, "wrong-distribution");

  outcome_.draws[0].first_bad_index = 17;
  outcome_.draws[0].first_bad_value = 123;
  outcome_.checks[0].elements_over_bound = 2;
  EXPECT_EQ(judged().reason, "impossible-draw");
  EXPECT_EQ(judged().message,
            "123 at output[2, 1] is outside the set that may be drawn; 2 of 32 draws are");
}

TEST_F(JudgeTest, ThrottleReasonsMarkTheTiming) {
  outcome_.timings[0].samples[3].throttle_reasons = 0x1;  // idle
  EXPECT_FALSE(judged().timing(TimingMode::kCold)->throttled);
  outcome_.timings[0].samples[3].throttle_reasons = 0x40;  // hardware thermal slowdown
  EXPECT_TRUE(judged().timing(TimingMode::kCold)->throttled);
}

TEST_F(JudgeTest, AVerdictSurvivesJson) {
  outcome_.checks[0].max_relative_error = std::numeric_limits<double>::infinity();
  outcome_.kernels = {{.name = "k<8>", .share = 1.0, .registers = 32, .grid = {4, 1, 1}}};
  device_.libraries = {{"driver", "1.2"}};
  Verdict verdict = judged();
  verdict.paired = PairedResult::kFaster;
  verdict.incumbent = "theirs";
  verdict.incumbent_key = "0123";
  verdict.speedup = 1.5;
  verdict.speedup_low = 1.4;
  verdict.speedup_high = 1.6;
  verdict.noise_floor = 0.012;
  verdict.is_confirmed = true;
  verdict.paired_note = "a note";
  const Json json = verdict_to_json(verdict);
  const Verdict back = verdict_from_json(parse_json(dump_json(json), "test").value(), "test").value();
  EXPECT_EQ(verdict_to_json(back), json);
  EXPECT_TRUE(back.is_confirmed);
  EXPECT_EQ(back.speedup_high, 1.6);
}

TEST_F(JudgeTest, AVerdictFromBeforeThereWerePairsIsRead) {
  Json json = verdict_to_json(judged());
  for (const char* later : {"incumbent_key", "speedup_low", "speedup_high", "noise_floor",
                            "is_confirmed", "paired_note"}) {
    ASSERT_EQ(json.erase(later), 1u) << later;
  }
  const auto verdict = verdict_from_json(json, "test");
  ASSERT_TRUE(verdict) << verdict.error().to_string();
  EXPECT_FALSE(verdict->speedup_low);
  EXPECT_FALSE(verdict->is_confirmed);
}

TEST_F(JudgeTest, TracesCarryWhatTheirStatusAllows) {
  const Trace passed = verdict_to_trace(judged(), problem_.workload);
  EXPECT_EQ(passed.evaluation->status, TraceStatus::kPassed);
  EXPECT_TRUE(passed.evaluation->correctness && passed.evaluation->performance);
  EXPECT_NEAR(passed.evaluation->performance->latency_ms, 1010.0 / 1e6, 1e-15);

  outcome_.checks[0].nonfinite_mismatches = 1;
  outcome_.checks[0].first_bad_index = 0;
  const Trace wrong = verdict_to_trace(judged(), problem_.workload);
  EXPECT_TRUE(wrong.evaluation->correctness && !wrong.evaluation->performance);
  EXPECT_TRUE(std::isinf(wrong.evaluation->correctness->max_absolute_error));

  outcome_.fault = Fault{FaultKind::kCrash, "killed by signal 11"};
  const Trace crashed = verdict_to_trace(judged(), problem_.workload);
  EXPECT_FALSE(crashed.evaluation->correctness || crashed.evaluation->performance);
  EXPECT_NE(crashed.evaluation->log.find("signal 11"), std::string::npos);
}

}  // namespace
}  // namespace fib
