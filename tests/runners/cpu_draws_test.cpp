// Solutions that draw at random, as the judge sees them: a plain honest sampler and what it becomes
// with one thing wrong.

#include <gmock/gmock.h>

#include "harness/judge.h"
#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

using testing::HasSubstr;

constexpr char kSampler[] = R"(
#include <fib/cpu.h>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

static void rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto real = [&](int i, int64_t at) {
    return static_cast<const float*>(call.inputs[i].data)[at];
  };
  const int64_t vocab = FIB_AXIS_vocab_size;
  for (int64_t row = begin; row < end; ++row) {
    const float* x = static_cast<const float*>(call.inputs[0].data) + row * vocab;
    int32_t& token = static_cast<int32_t*>(call.outputs[0].data)[row];
    std::vector<int> ids(vocab);
    std::iota(ids.begin(), ids.end(), 0);
    std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return x[a] > x[b]; });
    float temperature = real(1, row);
    int64_t top_k = static_cast<const int32_t*>(call.inputs[2].data)[row];
    double top_p = real(3, row), min_p = real(4, row), uniform = real(5, row);
    BIAS;
    if (temperature < 0x1p-20f) { token = ids[0]; continue; }
    if (top_k > 0) ids.resize(std::min(vocab, top_k));
    std::vector<double> p;
    for (int id : ids) p.push_back(std::exp((x[id] - x[ids[0]]) / temperature));
    const double all = std::accumulate(p.begin(), p.end(), 0.0);
    double mass = 0, sharpened = 0, sum = 0;
    size_t count = 0;
    while (count < p.size() && (count == 0 || mass < top_p * all) && p[count] >= min_p) {
      mass += p[count++];
    }
    ids.resize(count);
    p.resize(count);
    for (double& weight : p) sharpened += weight = std::pow(weight, SHARPNESS);
    for (size_t i = 0; i < count && sum <= uniform * sharpened; ++i) {
      sum += p[i];
      token = ids[i];
    }
  }
}
extern "C" int fib_run(const FibCall* call) {
  rows(0, call->inputs[0].shape[0], const_cast<FibCall*>(call));
  return 0;
}
)";

class CpuDrawsTest : public CpuTest {
 protected:
  CpuDrawsTest() {
    config_.modes = {TimingMode::kCold};
    config_.call_timeout_s = 30.0;
  }

  Verdict verdict_of(const std::string& bias, const std::string& sharpness = "1") {
    const Solution solution =
        solution_of("sampling_from_logits",
                    "#define BIAS " + bias + "\n#define SHARPNESS " + sharpness + kSampler);
    const ArtifactPtr artifact = artifact_of(solution, *signature_);
    const ContenderOutcome outcome = measure(problem_, {artifact}).at(0);
    const InputPlan plan = must(plan_inputs(problem_));
    return judge({.problem = problem_,
                  .solution = solution,
                  .artifact = *artifact,
                  .device = session().device(),
                  .outcome = outcome,
                  .inputs = with_seed(plan, 1000),
                  .expected = nullptr});
  }
  void expect_refused(const Verdict& verdict, const std::string& reason,
                      const std::string& message) {
    EXPECT_EQ(verdict.status, VerdictStatus::kIncorrectNumerical) << verdict.message;
    EXPECT_EQ(verdict.reason, reason) << verdict.message;
    EXPECT_THAT(verdict.message, HasSubstr(message));
    ASSERT_EQ(verdict.outputs.size(), 1u);
    EXPECT_FALSE(verdict.outputs[0].passed);
  }

  SignaturePtr signature_ =
      signature_of("sampling/sampling_from_logits", "sampling_from_logits_v500");
  Problem problem_ = problem_of(signature_, {{"num_tokens", 300}});
};

// It walks through the tokens in another order than the reference: the same uniform gives another
// token.
TEST_F(CpuDrawsTest, AnHonestSamplerPasses) {
  const Verdict verdict = verdict_of("");
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed) << verdict.message;
  EXPECT_EQ(verdict.outputs.at(0).stats.count, 900);
}

TEST_F(CpuDrawsTest, DrawingAnewInEachCallPasses) {
  const Verdict verdict = verdict_of(
      "static uint64_t state = 1; state = state * 6364136223846793005u + 1442695040888963407u;"
      "uniform = (state >> 40) * 0x1p-24");
  EXPECT_EQ(verdict.status, VerdictStatus::kPassed) << verdict.message;
}

TEST_F(CpuDrawsTest, CutsThatAreIgnoredGiveImpossibleDraws) {
  expect_refused(verdict_of("top_p = 1"), "impossible-draw", "outside the set that may be drawn");
  expect_refused(verdict_of("top_k = 0"), "impossible-draw", "token_ids[");
  expect_refused(verdict_of("if (temperature == 0) temperature = 1"), "impossible-draw",
                 "outside the set");
}

// What comes of 0 times infinity, where one over the temperature overflows.
TEST_F(CpuDrawsTest, TheFirstTokenAtATinyTemperatureIsSeen) {
  expect_refused(verdict_of("if (temperature > 0 && temperature < 1e-38f) { token = 0; continue; }"),
                 "impossible-draw", "0 at token_ids[");
}

TEST_F(CpuDrawsTest, TokensThatAreNotThereAreImpossible) {
  expect_refused(verdict_of("if (row == 7) { token = 500; continue; }"), "impossible-draw",
                 "500 at token_ids[7] is outside the set that may be drawn; 3 of 900 draws are");
  expect_refused(verdict_of("if (row == 0) { token = -1; continue; }"), "impossible-draw",
                 "-1 at token_ids[0]");
}

TEST_F(CpuDrawsTest, TheLikeliestTokenEveryTimeIsNotADraw) {
  expect_refused(verdict_of("temperature = 0"), "wrong-distribution",
                 "the draws of 'token_ids' are not distributed as asked: Kolmogorov-Smirnov p = ");
}

TEST_F(CpuDrawsTest, AConstantIsNotRandom) {
  expect_refused(verdict_of("uniform = 0.5"), "wrong-distribution", "over ");
}

// Only tokens that are possible, but not as often as they should come.
TEST_F(CpuDrawsTest, ProbabilitiesTooFlatOrTooSharpAreSeen) {
  expect_refused(verdict_of("", "0.5"), "wrong-distribution", "not distributed as asked");
  expect_refused(verdict_of("", "2"), "wrong-distribution", "not distributed as asked");
}

}  // namespace
}  // namespace fib
