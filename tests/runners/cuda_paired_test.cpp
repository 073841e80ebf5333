// On a card: two solutions timed side by side. Skips without one.

#include <array>

#include "harness/evaluate.h"
#include "tests/runners/cuda_device_fixture.h"

namespace fib {
namespace {

Solution house_solution(const std::string& name) {
  return *read_solution_folder(kSource / "leaderboard/solutions/cuda/rmsnorm" / name);
}

class CudaPairedTest : public CudaDeviceTest {
 protected:
  // Of the candidate on `rows` rows of 4096.
  Verdict pair(Solution candidate, Solution incumbent, int64_t rows = 512) {
    EvaluationOptions options{.measure = quick(), .threads = 8};
    options.measure.max_samples = 50;
    EvaluationJob job{.solution = std::move(candidate),
                      .problems = {rmsnorm_problem(shared().catalog, rows)},
                      .incumbent = std::move(incumbent)};
    std::vector<Verdict> verdicts;
    const EvaluationHooks hooks{
        .on_verdict = [&](Verdict verdict, const Solution&, const Problem&) -> Result<void> {
          verdicts.push_back(std::move(verdict));
          return {};
        }};
    const auto summary = evaluate(*shared().runner, {shared().runner->devices().front()},
                                  {std::move(job)}, shared().expected, options, hooks);
    EXPECT_TRUE(summary) << summary.error().to_string();
    EXPECT_EQ(verdicts.size(), 1u);
    if (verdicts.empty()) return {};
    printf("%s against %s: %s, %.3fx [%.3f, %.3f], floor %.3f %s\n", verdicts[0].solution.c_str(),
           verdicts[0].incumbent.c_str(),
           std::string(paired_result_name(verdicts[0].paired)).c_str(),
           verdicts[0].speedup.value_or(0), verdicts[0].speedup_low.value_or(0),
           verdicts[0].speedup_high.value_or(0), verdicts[0].noise_floor.value_or(0),
           verdicts[0].paired_note.c_str());
    return verdicts[0];
  }
};

TEST_F(CudaPairedTest, TheHousesTwoArePaired) {
  const Verdict verdict = pair(house_solution("rmsnorm-rows"), house_solution("rmsnorm-plain"));
  ASSERT_EQ(verdict.status, VerdictStatus::kPassed) << verdict.message;
  ASSERT_NE(verdict.paired, PairedResult::kNone) << verdict.paired_note;
  EXPECT_EQ(verdict.incumbent, "rmsnorm-plain");
  EXPECT_LE(verdict.speedup_low.value(), verdict.speedup.value());
  EXPECT_LE(verdict.speedup.value(), verdict.speedup_high.value());
  EXPECT_GE(verdict.noise_floor.value(), 0.01 - 1e-12);
  ASSERT_FALSE(verdict.paired_samples.empty());
  std::array<int64_t, 3> samples{};
  for (const Sample& sample : verdict.paired_samples.back().samples) {
    ++samples.at(sample.contender);
  }
  EXPECT_GE(samples[0], 20);
  EXPECT_EQ(samples[0], samples[1]);
  EXPECT_EQ(samples[0], samples[2]);
  if (verdict.paired == PairedResult::kFaster) {
    EXPECT_TRUE(verdict.is_confirmed) << verdict.paired_note;
    EXPECT_EQ(verdict.paired_samples.size(), 2u);
  }
}

TEST_F(CudaPairedTest, ACopyIsNeverConfirmedFaster) {
  Solution copy = house_solution("rmsnorm-rows");
  copy.name = "copy";
  const Verdict verdict = pair(copy, house_solution("rmsnorm-rows"));
  EXPECT_NE(verdict.paired, PairedResult::kNone) << verdict.paired_note;
  EXPECT_FALSE(verdict.is_confirmed);
}

TEST_F(CudaPairedTest, AnIncumbentThatBreaksTheDeviceDoesNotHurt) {
  const Verdict verdict = pair(house_solution("rmsnorm-rows"), candidate({"BREAKS_ADDRESS"}), 33);
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed) << verdict.message;
  EXPECT_EQ(verdict.paired, PairedResult::kNone);
  EXPECT_NE(verdict.paired_note.find("did not pass itself"), std::string::npos)
      << verdict.paired_note;
}

}  // namespace
}  // namespace fib
