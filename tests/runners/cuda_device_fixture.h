#pragma once

// Measuring on a card: one runner and session for all tests of a program.

#include <gmock/gmock.h>

#include "tests/runners/cuda_fixture.h"

namespace fib {

class CudaDeviceTest : public testing::Test {
 protected:
  // One runner and session for all tests: what breaks the device must not outlive its test.
  struct Shared {
    Catalog catalog = builtin_catalog();
    std::unique_ptr<Runner> runner = make_cuda_runner(cuda_options(kTestCache));
    std::unique_ptr<Session> session;
    ExpectedCache expected{{}, 0, size_t{1} << 30};
  };
  static Shared& shared() {
    static Shared* shared = new Shared;
    return *shared;
  }

  void SetUp() override {
    const Support support = shared().runner->available();
    if (!support.ok) GTEST_SKIP() << support.reason << " (" << support.remedy << ")";
    if (!shared().session) {
      auto session = shared().runner->open_session(0);
      ASSERT_TRUE(session) << session.error().to_string();
      shared().session = *std::move(session);
    }
  }

  ArtifactPtr build(const Solution& solution, const Signature& signature) {
    auto built = shared().runner->build({.solution = solution,
                                         .signature = signature,
                                         .architecture = shared().session->device().architecture});
    if (!built) {
      ADD_FAILURE() << built.error().to_string();
      return nullptr;
    }
    EXPECT_TRUE(built->artifact) << built->failure_log;
    return built->artifact;
  }

  static MeasureConfig quick() {
    MeasureConfig config;
    config.modes = {TimingMode::kCold};
    config.min_samples = 10;
    config.max_samples = 10;
    config.call_timeout_s = 2.0;
    config.seed = 4711;
    return config;
  }

  std::vector<ContenderOutcome> measure(const std::vector<ArtifactPtr>& contenders,
                                        const Problem& problem, const MeasureConfig& config) {
    auto plan = plan_inputs(problem);
    if (!plan) {
      ADD_FAILURE() << plan.error().to_string();
      return {};
    }
    std::vector<InputSet> sets;
    for (int i = 0; i < config.value_sets; ++i) sets.push_back(with_seed(*plan, 100 + i));
    const MeasureRequest request{
        .contenders = contenders,
        .problem = plan->problem,
        .value_sets = sets,
        .expected = [&](size_t set) { return shared().expected.get(plan->problem, sets[set], 8); },
        .config = config};
    auto outcomes = shared().session->measure(request);
    if (!outcomes) {
      ADD_FAILURE() << outcomes.error().to_string();
      return {};
    }
    return *std::move(outcomes);
  }

  ContenderOutcome measure_candidate(const std::vector<std::string>& defines,
                                     const MeasureConfig& config = quick(), int64_t rows = 33) {
    const Problem problem = rmsnorm_problem(shared().catalog, rows);
    const ArtifactPtr artifact = build(candidate(defines), *problem.signature);
    if (!artifact) return {};
    auto outcomes = measure({artifact}, problem, config);
    return outcomes.empty() ? ContenderOutcome{} : outcomes[0];
  }

  static void expect_right(const ContenderOutcome& outcome) {
    ASSERT_FALSE(outcome.fault) << fault_kind_name(outcome.fault->kind) << ": "
                                << outcome.fault->message << outcome.log;
    ASSERT_EQ(outcome.checks.size(), 1u);
    EXPECT_EQ(outcome.checks[0].nonfinite_mismatches, 0);
    EXPECT_EQ(outcome.checks[0].elements_over_bound, 0);
    EXPECT_LT(outcome.worst_honest_ratio[0], 2.0);
  }
  static void expect_fault(const ContenderOutcome& outcome, FaultKind kind,
                           const std::string& words) {
    ASSERT_TRUE(outcome.fault);
    EXPECT_EQ(outcome.fault->kind, kind) << fault_kind_name(outcome.fault->kind);
    EXPECT_THAT(outcome.fault->message, testing::HasSubstr(words));
  }
};

}  // namespace fib
