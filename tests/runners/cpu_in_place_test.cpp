// Outputs in place of an input: their memory comes with its content, and what a solution leaves
// alone or overwrites is judged like anything else.

#include <gmock/gmock.h>

#include "signatures/base/file.h"
#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

class CpuInPlaceTest : public CpuTest {
 protected:
  CpuInPlaceTest() { config_.modes = {TimingMode::kWarm}; }

  // The house's solution with `step` in place of its loop's body.
  Solution with_step(const std::string& step) {
    std::string code =
        must(read_file(source_folder() / "leaderboard/solutions/cpu/rope_append/rope-append-tokens/"
                                         "solution.cpp"));
    const std::string body = "step.run(token);";
    const size_t at = code.find(body);
    EXPECT_NE(at, std::string::npos);
    return solution_of("rope_append", code.replace(at, body.size(), "{" + step + "}"));
  }
  ContenderOutcome measured(const std::string& step) {
    const ContenderOutcome outcome = measure_one(problem_, with_step(step));
    EXPECT_FALSE(outcome.fault) << outcome.fault->message;
    return outcome;
  }
  static int64_t wrong(const ContenderOutcome& outcome, size_t output) {
    return outcome.checks.at(output).elements_over_bound;
  }

  SignaturePtr signature_ = signature_of("rope/rope_append", "rope_append_h4_kv2_d32_ps4");
  // More rows in the cache than tokens: most of it stays as it is.
  Problem problem_ =
      problem_of(signature_, {{"num_tokens", 7}, {"max_positions", 50}, {"num_pages", 6}});
};

constexpr size_t kQueries = 0, kKeys = 1, kValues = 2;

TEST_F(CpuInPlaceTest, WritingOnlyWhatChangesIsRight) {
  const ContenderOutcome outcome = measured("step.run(token);");
  expect_right(outcome, problem_);
  EXPECT_GT(outcome.calls_timed, 0);
}

TEST_F(CpuInPlaceTest, TheSignatureSaysWhichOutputsComeFilled) {
  EXPECT_EQ(problem_.outputs[kQueries].in_place_of, std::nullopt);
  EXPECT_EQ(problem_.inputs[problem_.outputs[kKeys].in_place_of.value()].name, "k_cache");
  EXPECT_EQ(problem_.inputs[problem_.outputs[kValues].in_place_of.value()].name, "v_cache");
}

TEST_F(CpuInPlaceTest, ARowThatIsNotWrittenIsWrong) {
  const ContenderOutcome outcome = measured(
      "step.run(token); if (token == 6) memcpy("
      "step.v_cache + int64_t{step.slots[token]} * 2 * 32,"
      "static_cast<const uint16_t*>(input(5)) + int64_t{step.slots[token]} * 2 * 32, 2 * 32 * 2);");
  EXPECT_EQ(wrong(outcome, kQueries), 0);
  EXPECT_EQ(wrong(outcome, kKeys), 0);
  EXPECT_GT(wrong(outcome, kValues), 0);
}

// 7 tokens leave 17 of 24 rows alone.
constexpr char kFreeRow[] = R"(
    step.run(token);
    int64_t row = 0;
    for (int t = 0; t < 7; ++t) if (step.slots[t] == row) { ++row; t = -1; }
)";

TEST_F(CpuInPlaceTest, AnotherValueInARowThatStaysIsWrong) {
  const ContenderOutcome outcome =
      measured(kFreeRow + std::string("step.k_cache[row * 2 * 32 + 5] ^= 0x8000;"));
  EXPECT_EQ(wrong(outcome, kQueries), 0);
  EXPECT_GT(wrong(outcome, kKeys), 0);
  EXPECT_EQ(wrong(outcome, kValues), 0);
}

TEST_F(CpuInPlaceTest, TheInputItselfStaysAsItIs) {
  const ContenderOutcome outcome = measure_one(
      problem_,
      with_step(kFreeRow + std::string("const_cast<uint16_t*>(static_cast<const "
                                       "uint16_t*>(input(4)))[row * 2 * 32] ^= 0x8000;")));
  ASSERT_TRUE(outcome.fault);
  EXPECT_EQ(outcome.fault->kind, FaultKind::kInputModified);
  EXPECT_THAT(outcome.fault->message, testing::HasSubstr("k_cache"));
}

TEST_F(CpuInPlaceTest, InputsThatCallsShareAreCopiedToo) {
  config_.value_sets = 2;
  const Problem large =
      problem_of(signature_, {{"num_tokens", 7}, {"max_positions", 50}, {"num_pages", 40'000}});
  ASSERT_GE(large.outputs[kKeys].size_bytes(), size_t{16} << 20);
  expect_right(measure_one(large, with_step("step.run(token);")), large);
}

}  // namespace
}  // namespace fib
