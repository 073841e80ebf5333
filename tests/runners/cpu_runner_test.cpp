// The cpu target as a submitter meets it: builds, honest measurements, and what is refused.

#include <gmock/gmock.h>

#include "runners/cpu/host_cpu.h"
#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

using testing::HasSubstr;
using testing::Not;

class CpuRunnerTest : public CpuTest {
 protected:
  Solution house(const std::string& path) {
    return must(read_solution_folder(source_folder() / "leaderboard/solutions/cpu" / path));
  }
  SignaturePtr signature_ = signature_of("rmsnorm/rmsnorm", "rmsnorm_h64");
  Problem problem_ = problem_of(signature_, {{"batch_size", 7}});
};

TEST_F(CpuRunnerTest, AnHonestSolutionIsCheckedAndTimed) {
  const ContenderOutcome outcome = measure_one(problem_, house("rmsnorm/rmsnorm-rows"));
  expect_right(outcome, problem_);
  ASSERT_EQ(outcome.timings.size(), 2u);
  for (const ModeTiming& timing : outcome.timings) {
    EXPECT_EQ(timing.clock, Clock::kHost);
    EXPECT_GE(timing.samples.size(), 1u);
    for (const Sample& sample : timing.samples) {
      EXPECT_GT(sample.time_ns, 0.0);
      EXPECT_LT(sample.time_ns, 1e8);  // seven rows of 64
      EXPECT_LT(sample.value_set, 3u);
    }
  }
  EXPECT_EQ(outcome.timings[0].mode, TimingMode::kCold);
  EXPECT_EQ(outcome.timings[0].samples[0].calls, 1u);
  EXPECT_EQ(outcome.timings[1].mode, TimingMode::kWarm);
  EXPECT_GE(outcome.timings[1].samples[0].calls, 1u);
  EXPECT_GE(outcome.calls_checked, outcome.calls_timed);
  EXPECT_GT(outcome.cross_check_ratio, 0.0);
  EXPECT_THAT(outcome.log, HasSubstr("us of an empty batch subtracted"));
}

TEST_F(CpuRunnerTest, GraphModeIsLeftOut) {
  config_.modes = {TimingMode::kGraph};
  const ContenderOutcome outcome = measure_one(problem_, house("rmsnorm/rmsnorm-plain"));
  expect_right(outcome, problem_);
  EXPECT_TRUE(outcome.timings.empty());
}

TEST_F(CpuRunnerTest, ContendersOfOneRoundSeeTheSameValues) {
  const auto outcomes = measure(problem_, {artifact_of(house("rmsnorm/rmsnorm-plain"), *signature_),
                                           artifact_of(house("rmsnorm/rmsnorm-rows"), *signature_)});
  ASSERT_EQ(outcomes.size(), 2u);
  for (uint32_t i = 0; i < 2; ++i) expect_right(outcomes[i], problem_);
  const auto& first = outcomes[0].timings[0].samples;
  const auto& second = outcomes[1].timings[0].samples;
  ASSERT_EQ(first.size(), second.size());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].contender, 0u);
    EXPECT_EQ(second[i].contender, 1u);
    EXPECT_EQ(first[i].round, second[i].round);
    EXPECT_EQ(first[i].value_set, second[i].value_set);
  }
}

TEST_F(CpuRunnerTest, ProblemsWithoutRowsPass) {
  const Problem empty = problem_of(signature_, {{"batch_size", 0}});
  expect_right(measure_one(empty, house("rmsnorm/rmsnorm-rows")), empty);
}

TEST_F(CpuRunnerTest, ACompileErrorNamesTheAuthorsFile) {
  const Solution broken = solution_of("rmsnorm", "#include <fib/cpu.h>\nint fib_run(oops);\n");
  const BuildOutcome outcome = build(broken, *signature_);
  EXPECT_EQ(outcome.artifact, nullptr);
  EXPECT_FALSE(outcome.timed_out);
  EXPECT_THAT(outcome.failure_log, HasSubstr("solution.cpp:2:13: error:"));
  EXPECT_THAT(outcome.failure_log, Not(HasSubstr(folder_.path().string())));
}

TEST_F(CpuRunnerTest, AMissingFunctionIsACompileError) {
  const Solution broken = solution_of(
      "rmsnorm", "#include <fib/cpu.h>\nint elsewhere();\n"
                 "extern \"C\" int fib_run(const FibCall*) { return elsewhere(); }\n");
  const BuildOutcome outcome = build(broken, *signature_);
  EXPECT_EQ(outcome.artifact, nullptr);
  EXPECT_THAT(outcome.failure_log, HasSubstr("undefined reference to `elsewhere()'"));
}

TEST_F(CpuRunnerTest, ASecondBuildComesFromTheCache) {
  const Solution solution = house("rmsnorm/rmsnorm-plain");
  const ArtifactPtr first = artifact_of(solution, *signature_);
  const ArtifactPtr second = artifact_of(solution, *signature_);
  EXPECT_FALSE(first->from_cache);
  EXPECT_TRUE(second->from_cache);
  EXPECT_EQ(first->build_key, second->build_key);
  const auto wider = signature_of("rmsnorm/rmsnorm", "rmsnorm_h128");
  EXPECT_NE(artifact_of(solution, *wider)->build_key, first->build_key);
}

TEST_F(CpuRunnerTest, SupportsSaysWhyNot) {
  const Solution cpu = house("rmsnorm/rmsnorm-plain");
  EXPECT_TRUE(runner().supports(cpu, *signature_).ok);
  const auto gemm = signature_of("gemm/gemm", "gemm_n128_k2048");
  EXPECT_THAT(runner().supports(cpu, *gemm).reason, HasSubstr("'rmsnorm', not for 'gemm_n128_k2048'"));
  const Solution cuda = must(
      read_solution_folder(source_folder() / "leaderboard/solutions/cuda/rmsnorm/rmsnorm-plain"));
  EXPECT_THAT(runner().supports(cuda, *signature_).reason, HasSubstr("target 'cuda', not for 'cpu'"));
  Solution foreign = cpu;
  foreign.fib = nullptr;
  EXPECT_FALSE(runner().supports(foreign, *signature_).ok);
  EXPECT_FALSE(runner().supports(foreign, *signature_).reason.empty());
}

TEST_F(CpuRunnerTest, TheMachineIsTheOnlyDevice) {
  const auto devices = runner().devices();
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].target, "cpu");
  EXPECT_EQ(devices[0].threads, pool_threads());
  EXPECT_THAT(devices[0].name, HasSubstr(std::to_string(pool_threads()) + " thread"));
  EXPECT_EQ(devices[0].key.find_first_of(" ()/@,"), std::string::npos);
  EXPECT_GT(devices[0].bandwidth_gbps, 0.1);
  EXPECT_GT(devices[0].fp32_tflops, 1e-4);
  EXPECT_GE(devices[0].tensor_tflops, devices[0].fp32_tflops);
  EXPECT_EQ(devices[0].ceilings_source, "measured");
  // Kept: another runner reads the same numbers instead of measuring again.
  EXPECT_EQ(make_runner()->devices()[0].bandwidth_gbps, devices[0].bandwidth_gbps);
  const auto none = runner().open_session(1);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("there is no cpu device 1"));
}

TEST_F(CpuRunnerTest, AProblemBeyondTheBudgetIsRefusedWithItsSize) {
  const auto gemm = signature_of("gemm/gemm", "gemm_n65536_k32768");
  const Problem huge = problem_of(gemm, {{"M", 1}});
  const Solution solution = solution_of(
      "gemm", "#include <fib/cpu.h>\nextern \"C\" int fib_run(const FibCall*) { return 0; }\n");
  const InputPlan plan = must(plan_inputs(huge));
  const std::vector<InputSet> sets = {with_seed(plan, 1)};
  const auto outcome = session().measure(
      {.contenders = {artifact_of(solution, *gemm)},
       .problem = huge,
       .value_sets = sets,
       .expected = [](size_t) -> Result<ExpectedPtr> { return std::make_shared<Expected>(); },
       .config = config_});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(outcome.error().message, HasSubstr("one call needs 429"));  // 4 GiB of weights
  EXPECT_THAT(outcome.error().where, HasSubstr("gemm_n65536_k32768"));
}

}  // namespace
}  // namespace fib
