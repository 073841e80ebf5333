#include "agents/feedback/feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace fib::agents {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Solution candidate(std::string name = "mine", std::string source = "line one\nline two\n") {
  Solution solution{.name = std::move(name), .definition = "rmsnorm_h4096"};
  solution.sources = {{"kernel.cu", std::move(source)}};
  solution.fib = {{"target", "cuda"}};
  return solution;
}

struct Timing {
  int64_t batch = 1;
  double cold_ns = 0.0, floor_ns = 0.0, weight = 1.0;
};

Verdict passed(const Timing& timing) {
  Verdict verdict{.id = 5, .solution = "mine", .signature = "rmsnorm_h4096"};
  verdict.axes = {{"batch_size", timing.batch}};
  verdict.workload_weight = timing.weight;
  verdict.device = {.target = "cuda", .name = "a card", .architecture = "sm_90a"};
  verdict.device.multiprocessors = 132;
  verdict.timings = {{.mode = TimingMode::kCold, .latency_ns = {.median = timing.cold_ns}},
                     {.mode = TimingMode::kWarm, .latency_ns = {.median = timing.cold_ns / 2}}};
  verdict.roofline = {.bytes = 4096.0,
                      .floor_ns = timing.floor_ns,
                      .fraction = timing.floor_ns / timing.cold_ns,
                      .bound = "memory"};
  KernelShare kernel{.name = "void rmsnorm<4096>(float const*)", .share = 1.0, .registers = 64};
  kernel.grid[0] = 264, kernel.grid[1] = kernel.grid[2] = 1;
  kernel.block[0] = 256, kernel.block[1] = kernel.block[2] = 1;
  kernel.shared_bytes = 2048;
  verdict.kernels = {kernel};
  OutputVerdict output{.name = "y", .honest_ratio = 1.1, .passed = true};
  output.stats.count = 4096;
  output.stats.sum_squared_error = 4.0;
  output.stats.sum_squared_reference = 40000.0;
  verdict.outputs = {output};
  return verdict;
}

Verdict wrong(int64_t batch) {
  Verdict verdict = passed({.batch = batch, .cold_ns = 1000.0, .floor_ns = 500.0});
  verdict.status = VerdictStatus::kIncorrectNumerical;
  verdict.reason = "wrong-values";
  verdict.message = "17 of 4096 elements of 'y' are too far from the reference";
  verdict.timings.clear();
  OutputVerdict& output = verdict.outputs[0];
  output.passed = false;
  output.honest_ratio = 812.0;
  output.stats.first_bad_index = 4079;
  output.stats.elements_over_bound = 17;
  output.stats.histogram[0] = 4079;
  output.stats.histogram[15] = 17;
  return verdict;
}

std::string words(const FeedbackSource& source) { return feedback_in_words(make_feedback(source)); }

TEST(Feedback, OfWhatDoesNotCompileQuotesTheLine) {
  const Solution solution = candidate();
  EXPECT_EQ(words({.solution = solution,
                   .build_log = "kernel.cu(2): error: identifier \"two\" is undefined\n",
                   .compiles = false}),
            "# mine: it doesn't compile\n"
            "\n"
            "## Compiler\n"
            "kernel.cu:2: error: identifier \"two\" is undefined\n"
            "     1 | line one\n"
            ">    2 | line two\n");
}

TEST(Feedback, OfWrongNumbersSaysWhereAndHowMuch) {
  const Solution solution = candidate();
  EXPECT_EQ(words({.solution = solution, .verdicts = {wrong(7), wrong(9)}}),
            "# mine: wrong numbers; right on 0 of 2 workloads\n"
            "\n"
            "## What fails: 2 workloads\n"
            "rmsnorm_h4096 batch_size=7: INCORRECT_NUMERICAL (wrong-values)\n"
            "17 of 4096 elements of 'y' are too far from the reference\n"
            "- output `y`: error 812x an honest implementation's, 0.01 of its RMS; 17 of 4096 "
            "elements wrong, 0 NaN or Inf mismatches, the first at row-major index 4079\n"
            "  errors by size, in units of their row's RMS: under 1/4096: 99.6 %, more than 1/2: "
            "0.415 %\n");
}

TEST(Feedback, OfACrashHasWhatWasPrinted) {
  const Solution solution = candidate();
  Verdict crash = wrong(7);
  crash.status = VerdictStatus::kRuntimeError;
  crash.reason = "crash";
  crash.message = "killed by signal 11 (segmentation fault)";
  crash.outputs.clear();
  crash.log = "assertion failed in tile 3\n";
  EXPECT_THAT(words({.solution = solution, .verdicts = {crash}}),
              AllOf(HasSubstr("it fails; right on 0 of 1"), HasSubstr("RUNTIME_ERROR (crash)"),
                    HasSubstr("segmentation fault"), HasSubstr("assertion failed in tile 3")));
}

TEST(Feedback, OfTimesShowsTheSpreadAndWhereTheGainIs) {
  const Solution solution = candidate();
  const Json feedback = make_feedback(
      {.solution = solution,
       .verdicts = {passed({.batch = 1, .cold_ns = 4000.0, .floor_ns = 400.0}),
                    passed({.batch = 8, .cold_ns = 5000.0, .floor_ns = 3000.0, .weight = 100.0}),
                    passed({.batch = 64, .cold_ns = 10000.0, .floor_ns = 9000.0})},
       .speedup = 1.5,
       .speedup_low = 1.4,
       .speedup_high = 1.6});
  EXPECT_EQ(feedback.at("outcome"), "right");
  EXPECT_EQ(feedback.at("time").at("best").at("axes").at("batch_size"), 64);
  EXPECT_EQ(feedback.at("time").at("median").at("axes").at("batch_size"), 8);
  EXPECT_EQ(feedback.at("time").at("worst").at("axes").at("batch_size"), 1);
  EXPECT_EQ(feedback.at("time").at("most_to_gain").at("axes").at("batch_size"), 8);
  EXPECT_THAT(feedback_in_words(feedback),
              AllOf(HasSubstr("right on 3 of 3 workloads, 1.500x the baseline's speed (1.400 to "
                              "1.600)"),
                    HasSubstr("- furthest: rmsnorm_h4096 batch_size=1: 4 us, 10 % of the roofline "
                              "(400 ns, memory bound), L2 warm 2 us"),
                    HasSubstr("most to gain: rmsnorm_h4096 batch_size=8, with 97.8 %")));
}

TEST(Feedback, OfKernelsCombinesLaunchOccupancyAndCounters) {
  const Solution solution = candidate();
  const std::string text =
      words({.solution = solution,
             .verdicts = {passed({.cold_ns = 4000.0, .floor_ns = 400.0})},
             .counters = {{.kernel = "rmsnorm",
                           .device_bytes = 8192.0,
                           .occupancy = 0.4,
                           .bank_conflicts = 12.0,
                           .stalls = {{"long scoreboard", 0.5}, {"barrier", 0.1}}},
                          {.kernel = "helper", .bank_conflicts = 1.0}}});
  EXPECT_THAT(
      text,
      AllOf(
          HasSubstr("at least 4 KiB of device memory"),
          HasSubstr("100 % of the time, 264 blocks of 256 threads, 64 registers, 2 KiB shared; at "
                    "most 50 % of the warps fit, limited by registers; 0.5 waves"),
          HasSubstr("measured: 8 KiB to and from device memory, 40 % of the warps resident, 12 "
                    "bank conflicts, waiting for long scoreboard 50 %, waiting for barrier 10 %"),
          HasSubstr("- `helper`\n  measured: 1 bank conflicts")));
}

TEST(Feedback, ComparesWithTheParent) {
  const Solution parent = candidate("theirs", "line one\nold\n");
  const Solution child = candidate("mine", "line one\nnew\n");
  const std::string text = words(
      {.solution = child,
       .verdicts = {passed({.cold_ns = 4000.0, .floor_ns = 400.0})},
       .behaviour = {.registers = 72, .spilled_bytes = 16},
       .speedup = 1.5,
       .parent = &parent,
       .parent_record = CandidateRecord{
           .fate = CandidateFate::kMeasured, .speedup = 1.2, .behaviour = {.registers = 64}}});
  EXPECT_THAT(text,
              AllOf(HasSubstr("## The binary\n72 registers a thread, 16 bytes spilled a thread\n"),
                    HasSubstr("## Against its parent theirs\n1.250x its speed; the parent's was "
                              "1.200x the baseline's\n"),
                    HasSubstr("the parent's binary: 64 registers a thread\n"),
                    HasSubstr("kernel.cu: 1 lines added, 1 removed\n"), HasSubstr("-old\n+new\n")));
}

// Everything of a verdict that a candidate must not learn is given a value that is seen at once.
TEST(Feedback, TellsNoSecrets) {
  Verdict verdict = wrong(7);
  verdict.workload = verdict.config_key = verdict.solution_key = verdict.incumbent_key =
      verdict.device.key = verdict.paired_note = "SECRET";
  verdict.noise_floor = 0.77077;
  verdict.outputs[0].honest_relative_rms = 0.77077;
  verdict.outputs[0].stats.sum_squared_reference = 77077.0;
  ModeTiming samples{.mode = TimingMode::kCold};
  samples.samples = {{.time_ns = 77077.0, .value_set = 77077, .round = 77077}};
  verdict.samples = verdict.paired_samples = {samples};
  const Solution solution = candidate();
  CandidateRecord parent{.run = 77077, .number = 77077, .seed = 77077, .solution_key = "SECRET"};
  parent.code_key = "SECRET";
  parent.feedback = "SECRET";
  parent.verdicts = {77077};
  const Json feedback = make_feedback(
      {.solution = solution, .verdicts = {verdict}, .parent = &solution, .parent_record = parent});
  for (const std::string& text : {dump_json(feedback), feedback_in_words(feedback)}) {
    EXPECT_THAT(text, AllOf(Not(HasSubstr("SECRET")), Not(HasSubstr("77077"))));
  }
}

TEST(Feedback, IsBoundedWhateverItIsMadeOf) {
  const std::string huge(1 << 13, 'x');
  std::string long_source;
  for (int i = 0; i < 5000; ++i) long_source += std::to_string(i) + " " + huge.substr(0, 80) + "\n";
  const Solution parent = candidate("theirs", ""), child = candidate("mine", long_source);
  FeedbackSource source{.solution = child, .build_log = huge, .parent = &parent};
  for (int i = 0; i < 200; ++i) {
    source.verdicts.push_back(wrong(i));
    source.verdicts.back().status = VerdictStatus::kRuntimeError;
    source.verdicts.back().reason = std::to_string(i);
    source.verdicts.back().message = source.verdicts.back().log = huge;
    source.verdicts.push_back(passed({.batch = i, .cold_ns = 2.0, .floor_ns = 1.0}));
    source.verdicts.back().kernels.resize(100, {.name = huge});
    source.counters.push_back({.kernel = huge});
  }
  const Json feedback = make_feedback(source);
  EXPECT_LT(dump_json(feedback).size(), 40000u);
  for (const size_t max_bytes : {size_t{200}, size_t{1000}, size_t{8000}}) {
    EXPECT_LE(feedback_in_words(feedback, max_bytes).size(), max_bytes);
  }
}

TEST(Feedback, OfNothingIsLittle) {
  EXPECT_EQ(feedback_in_words(Json()), "");
  const Solution solution = candidate();
  EXPECT_EQ(words({.solution = solution}), "# mine: it compiles; not yet judged\n");
  Verdict endless = wrong(1);
  endless.outputs[0].honest_ratio = std::numeric_limits<double>::infinity();
  EXPECT_THAT(words({.solution = solution, .verdicts = {endless}}),
              HasSubstr("error Infinityx an honest"));
}

}  // namespace
}  // namespace fib::agents
