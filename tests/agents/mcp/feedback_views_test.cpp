#include "agents/mcp/feedback_views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/mcp/schema.h"

namespace fib::mcp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Solution candidate() {
  Solution solution{.name = "mine", .definition = "rmsnorm_h64"};
  solution.sources = {{"solution.cpp", "line one\nline two\n"}};
  solution.fib = {{"target", "cpu"}};
  return solution;
}

Verdict judged() {
  Verdict verdict{.id = 7, .solution = "mine", .signature = "rmsnorm_h64"};
  verdict.axes = {{"batch_size", 3}};
  verdict.device = {.target = "cpu", .name = "a processor", .architecture = "x86-64"};
  verdict.timings = {{.mode = TimingMode::kCold, .latency_ns = {.median = 4000.0}}};
  verdict.roofline = {.bytes = 4096.0, .floor_ns = 400.0, .fraction = 0.1, .bound = "memory"};
  OutputVerdict output{.name = "output", .honest_ratio = 1.1, .passed = true};
  output.stats.count = 192;
  verdict.outputs = {output};
  return verdict;
}

Verdict wrong() {
  Verdict verdict = judged();
  verdict.status = VerdictStatus::kIncorrectNumerical;
  verdict.reason = "wrong-values";
  verdict.message = "17 of 192 elements of 'output' are too far from the reference";
  verdict.timings.clear();
  OutputVerdict& output = verdict.outputs[0];
  output.passed = false;
  output.honest_ratio = 812.0;
  output.stats.first_bad_index = 42;
  output.stats.elements_over_bound = 17;
  output.stats.histogram[0] = 175;
  output.stats.histogram[15] = 17;
  return verdict;
}

std::string words(const Verdict& verdict) {
  const Json explanation = verdict_explanation(verdict, candidate());
  EXPECT_TRUE(check_against_schema(verdict_explanation_schema(), explanation, "explanation"));
  const std::string feedback = explanation.at("feedback");
  EXPECT_THAT(verdict_page(verdict, candidate()), HasSubstr(feedback));
  return feedback;
}

TEST(VerdictExplanation, SaysWhereNumbersAreWrong) {
  EXPECT_THAT(words(wrong()),
              AllOf(HasSubstr("# mine: wrong numbers"), HasSubstr("first at row-major index 42"),
                    HasSubstr("errors by size"), HasSubstr("more than 1/2: 8.85 %")));
}

TEST(VerdictExplanation, SaysHowFarFromTheRooflineItIs) {
  EXPECT_THAT(words(judged()),
              AllOf(HasSubstr("# mine: right on 1 of 1"), HasSubstr("10 % of the roofline")));
  EXPECT_THAT(verdict_page(judged(), candidate()), HasSubstr("cold: 4 us"));
}

TEST(VerdictExplanation, QuotesWhatDoesNotCompile) {
  Verdict verdict = wrong();
  verdict.status = VerdictStatus::kCompileError;
  verdict.log = "solution.cpp:2:1: error: what is 'two'?\n";
  EXPECT_THAT(words(verdict), HasSubstr(">    2 | line two"));
  EXPECT_EQ(verdict_explanation(verdict, candidate()).at("log"), verdict.log);
}

// The log of what ran has the compiler's words, the runner's notes and all that was printed.
TEST(VerdictExplanation, TakesOfTheLogWhatMayBeKnown) {
  Verdict verdict = judged();
  verdict.log = "k<8>: 255 registers, 16 bytes spilled a thread\nthe solution printed:\nx[0] = 3\n";
  EXPECT_THAT(words(verdict), HasSubstr("16 bytes spilled"));
  EXPECT_EQ(verdict_explanation(verdict, candidate()).at("log"), "");
  verdict.log = "the solution printed:\nx[0] = 3\n";
  EXPECT_THAT(words(verdict), Not(HasSubstr("Compiler")));
  verdict.log = "solution.cpp:2:1: error: another's source\n";  // an incumbent's that wasn't built
  EXPECT_THAT(words(verdict), Not(HasSubstr("another's")));

  verdict.status = VerdictStatus::kRuntimeError;
  verdict.log = "assertion failed in tile 3\n";
  EXPECT_THAT(words(verdict), HasSubstr("assertion failed"));
  EXPECT_EQ(verdict_explanation(verdict, candidate()).at("log"), verdict.log);
}

// What a candidate must not learn is given a value that is seen at once.
TEST(VerdictExplanation, TellsNoSecrets) {
  Verdict verdict = wrong();
  verdict.workload = verdict.config_key = verdict.device.key = "SECRET";
  verdict.log = "the solution printed:\nSECRET\n";
  verdict.noise_floor = 0.77077;
  OutputVerdict& output = verdict.outputs[0];
  output.honest_relative_rms = 0.77077;
  output.stats.max_absolute_error = output.stats.max_relative_error = 77077.0;
  output.stats.max_normalised_error = output.stats.sum_squared_reference = 77077.0;
  ModeTiming samples{.mode = TimingMode::kCold};
  samples.samples = {{.time_ns = 77077.0, .value_set = 77077, .round = 77077}};
  verdict.samples = verdict.paired_samples = {samples};
  for (const std::string& text :
       {verdict_explanation(verdict, candidate()).dump(), verdict_page(verdict, candidate())}) {
    EXPECT_THAT(text, AllOf(Not(HasSubstr("SECRET")), Not(HasSubstr("77077"))));
  }
}

TEST(VerdictExplanation, IsBounded) {
  Verdict verdict = wrong();
  verdict.status = VerdictStatus::kRuntimeError;
  verdict.message = verdict.log = std::string(1 << 20, 'x');
  verdict.kernels.resize(200, {.name = verdict.log});
  EXPECT_LT(verdict_explanation(verdict, candidate()).dump().size(), 40'000u);
  EXPECT_LT(verdict_page(verdict, candidate()).size(), 8'000u);
}

TEST(ProfileView, CarriesWhatIsMissingAndIsBounded) {
  ProfileReport report{.feedback = {{"version", 1},
                                    {"solution", "mine"},
                                    {"target", "cuda"},
                                    {"outcome", "built"},
                                    {"workloads", {{"judged", 0}, {"passed", 0}}}},
                       .counters_reason = "not asked for",
                       .is_interrupted = true};
  for (int i = 0; i < 1000; ++i) {
    report.counters_missing.push_back("no bank conflicts: " + std::string(5000, 'x'));
    report.errors.push_back({ErrorCode::kEnvironment, std::string(5000, 'x'), "device"});
    report.verdicts.push_back(i);
  }
  const Json document = profile_to_json(report);
  EXPECT_TRUE(check_against_schema(profile_schema(), document, "profile"));
  EXPECT_EQ(document.at("counters").at("reason"), "not asked for");
  EXPECT_LT(document.dump().size(), 20'000u);
  EXPECT_THAT(profile_in_words(report),
              AllOf(HasSubstr("# mine: it compiles; not yet judged"),
                    HasSubstr("counters: not read: not asked for"), HasSubstr("error: device: "),
                    HasSubstr("interrupted; the same call goes on")));
  EXPECT_LT(profile_in_words(report).size(), 20'000u);
}

}  // namespace
}  // namespace fib::mcp
