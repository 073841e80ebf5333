#pragma once

// What a cpu test needs: a runner with a cache of its own, problems, and solutions made of text.

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/expected.h"
#include "runners/cpu/cpu_runner.h"
#include "signatures/family.h"
#include "signatures/problem.h"
#include "signatures/solution_folder.h"
#include "tests/runners/temporary_folder.h"
#include "workloads/inputs.h"

namespace fib {

// The value, or the test fails with the error's words.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  return *std::move(result);
}

inline SignaturePtr signature_of(const std::string& family, const std::string& name) {
  return std::make_shared<const Signature>(must(instantiate_by_name(
      std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions" / (family + ".json"),
      name)));
}

inline Problem problem_of(SignaturePtr signature,
                          std::vector<std::pair<std::string, int64_t>> axes) {
  Workload workload;
  workload.uuid = "test";
  workload.axes = std::move(axes);
  return must(fib::bind(std::move(signature), workload));
}

class CpuTest : public testing::Test {
 protected:
  static std::filesystem::path source_folder() { return FIB_SOURCE_DIR; }

  std::unique_ptr<Runner> make_runner() const {
    return make_cpu_runner({.cache_folder = folder_.path() / "cache",
                            .worker_executable = FIB_TEST_WORKER,
                            .include_folder = source_folder() / "harness/abi"});
  }
  Runner& runner() { return *runner_; }
  Session& session() {
    if (!session_) session_ = must(runner_->open_session(0));
    return *session_;
  }

  // A solution of one file, with the ABI header included and helpers for bf16 above the code.
  Solution solution_of(const std::string& signature, const std::string& code) {
    const std::string name = "s" + std::to_string(++solutions_);
    folder_.write(name + "/solution.json",
                  R"({"name": ")" + name + R"(", "signature": ")" + signature +
                      R"(", "author": "test", "target": "cpu", "entry": "solution.cpp",)"
                      R"( "sources": ["solution.cpp"]})");
    folder_.write(name + "/solution.cpp", code);
    return must(read_solution_folder(folder_.path() / name));
  }

  BuildOutcome build(const Solution& solution, const Signature& signature) {
    return must(runner_->build({.solution = solution,
                                .signature = signature,
                                .architecture = "native",
                                .timeout_s = 120.0}));
  }
  ArtifactPtr artifact_of(const Solution& solution, const Signature& signature) {
    const BuildOutcome outcome = build(solution, signature);
    EXPECT_NE(outcome.artifact, nullptr) << outcome.failure_log;
    return outcome.artifact;
  }

  Result<std::vector<ContenderOutcome>> try_measure(const Problem& problem,
                                                    std::vector<ArtifactPtr> contenders,
                                                    const MeasureConfig& config) {
    const InputPlan plan = must(plan_inputs(problem));
    std::vector<InputSet> sets;
    for (int set = 0; set < config.value_sets; ++set)
      sets.push_back(with_seed(plan, 1000 + static_cast<uint64_t>(set)));
    return session().measure({.contenders = std::move(contenders),
                              .problem = plan.problem,
                              .value_sets = sets,
                              .expected = [&](size_t set) {
                                return expected_.get(plan.problem, sets[set], 1);
                              },
                              .config = config});
  }
  std::vector<ContenderOutcome> measure(const Problem& problem,
                                        std::vector<ArtifactPtr> contenders) {
    return must(try_measure(problem, std::move(contenders), config_));
  }
  ContenderOutcome measure_one(const Problem& problem, const Solution& solution) {
    return measure(problem, {artifact_of(solution, *problem.signature)}).at(0);
  }

  // Within the signature's tolerance on every output.
  static void expect_right(const ContenderOutcome& outcome, const Problem& problem) {
    ASSERT_FALSE(outcome.fault.has_value()) << outcome.fault->message;
    ASSERT_EQ(outcome.checks.size(), problem.outputs.size());
    for (size_t i = 0; i < outcome.checks.size(); ++i) {
      const auto& tolerance = problem.signature->fib.tolerances.at(problem.outputs[i].name);
      EXPECT_EQ(outcome.checks[i].nonfinite_mismatches, 0) << problem.outputs[i].name;
      EXPECT_EQ(outcome.checks[i].elements_over_bound, 0) << problem.outputs[i].name;
      EXPECT_LE(outcome.worst_honest_ratio[i], tolerance.honest_factor) << problem.outputs[i].name;
      EXPECT_GT(outcome.draws[i].p_value(), 1e-6) << problem.outputs[i].name;  // 1: no draws
    }
  }

  TemporaryFolder folder_;
  MeasureConfig config_{.modes = {TimingMode::kCold, TimingMode::kWarm},
                        .min_samples = 5,
                        .max_samples = 10,
                        .max_seconds_per_mode = 0.2,
                        .call_timeout_s = 5.0,
                        .seed = 20};

 private:
  int solutions_ = 0;
  ExpectedCache expected_{{}, 0, size_t{1} << 30};
  std::unique_ptr<Runner> runner_ = make_runner();
  std::unique_ptr<Session> session_;
};

}  // namespace fib
