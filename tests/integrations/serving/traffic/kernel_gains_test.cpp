// What micro-benchmarks promise of a whole, from invented calls and times.

#include "integrations/serving/traffic/kernel_gains.h"

#include <gtest/gtest.h>

namespace fib {
namespace {

CallTime call(std::string signature, std::string solution, uint64_t calls, double host_s) {
  return {.signature = std::move(signature),
          .solution = std::move(solution),
          .calls = calls,
          .host_s = host_s};
}

double speedup_of(const std::vector<CallTime>& a, const std::vector<CallTime>& b,
                  const PromisedSpeedups& promised_a, const PromisedSpeedups& promised_b) {
  const auto gains = kernel_gains(a, b, promised_a, promised_b);
  EXPECT_EQ(gains.size(), 1u);
  return gains.at(0).speedup;
}

TEST(PredictGain, IsByShares) {
  EXPECT_DOUBLE_EQ(predict_gain({}), 1.0);
  EXPECT_DOUBLE_EQ(predict_gain({{.share = 0.5, .speedup = 2.0}}), 1.0 / 0.75);
  EXPECT_DOUBLE_EQ(predict_gain({{.share = 0.5, .speedup = 2.0}, {.share = 0.25, .speedup = 0.5}}),
                   1.0);
}

TEST(KernelGains, AreOfKernelsThatDiffer) {
  const std::vector<CallTime> a = {call("gemm", "dots", 100, 3.0), call("norm", "rows", 100, 1.0)};
  const std::vector<CallTime> b = {call("gemm", "panels", 25, 1.0), call("gemm", "dots", 75, 1.0),
                                   call("norm", "rows", 100, 1.0)};
  const auto gains = kernel_gains(a, b, {}, {{{"gemm", "panels"}, 2.0}});
  ASSERT_EQ(gains.size(), 1u);
  EXPECT_EQ(gains[0].solution_a, "dots");
  EXPECT_EQ(gains[0].solution_b, "panels");
  EXPECT_DOUBLE_EQ(gains[0].share, 0.75);
  EXPECT_DOUBLE_EQ(gains[0].speedup, 3.0 / (1.0 + 2.0 / 2.0)) << "a second of it falls back";
  EXPECT_TRUE(kernel_gains(a, a, {}, {}).empty());
}

// Ten prefills of 0.9 s and ninety decodes of a ninetieth: the winner of the prefills has a tenth
// of the calls and nine tenths of the time.
TEST(KernelGains, TimesWeighNotCalls) {
  const std::vector<CallTime> a = {call("gemm", "dots", 100, 10.0)};
  const PromisedSpeedups promised = {{{"gemm", "panels"}, 2.0}};
  EXPECT_DOUBLE_EQ(
      speedup_of(a, {call("gemm", "panels", 10, 4.5), call("gemm", "dots", 90, 1.0)}, {}, promised),
      10.0 / (1.0 + 9.0 / 2.0));
  // And the other way round: the winner of the decodes hardly matters.
  EXPECT_DOUBLE_EQ(
      speedup_of(a, {call("gemm", "panels", 90, 0.5), call("gemm", "dots", 10, 9.0)}, {}, promised),
      10.0 / (9.0 + 1.0 / 2.0));
}

// A prediction that took B's measured time for its weight would go along with what it is to be held
// against.
TEST(KernelGains, ArePromisesWhateverBTakes) {
  const std::vector<CallTime> a = {call("gemm", "dots", 100, 10.0)};
  for (const double panels_s : {1.0, 4.5, 20.0}) {
    EXPECT_DOUBLE_EQ(
        speedup_of(a, {call("gemm", "panels", 10, panels_s), call("gemm", "dots", 90, 1.0)}, {},
                   {{{"gemm", "panels"}, 2.0}}),
        10.0 / 5.5)
        << panels_s;
  }
}

// Two new ones: 8 s of A's at 4x and 2 s at 2x, of which B's times tell which are whose.
TEST(KernelGains, SeveralNewSolutionsShareByWhatTheySave) {
  EXPECT_DOUBLE_EQ(speedup_of({call("gemm", "dots", 100, 10.0)},
                              {call("gemm", "wide", 5, 2.0), call("gemm", "tall", 95, 1.0)}, {},
                              {{{"gemm", "wide"}, 4.0}, {{"gemm", "tall"}, 2.0}}),
                   10.0 / 3.0);
}

// A wins as well: panels is 2x there and serves all; B has it for half of that, and for the other
// half one that is 3x.
TEST(KernelGains, BothSidesMayHaveWinners) {
  const PromisedSpeedups promised_a = {{{"gemm", "panels"}, 2.0}};
  const PromisedSpeedups promised_b = {{{"gemm", "panels"}, 2.0}, {{"gemm", "wide"}, 3.0}};
  const std::vector<CallTime> a = {call("gemm", "panels", 100, 6.0)};
  const std::vector<CallTime> b = {call("gemm", "panels", 90, 3.0), call("gemm", "wide", 10, 2.0)};
  EXPECT_DOUBLE_EQ(speedup_of(a, b, promised_a, promised_b), 6.0 / (3.0 + 3.0 * 2.0 / 3.0));
  EXPECT_DOUBLE_EQ(speedup_of(b, a, promised_b, promised_a), 5.0 / (3.0 + 2.0 * 3.0 / 2.0))
      << "and back";
}

// Clocks that drift leave more time with a solution that both have than A spent in all.
TEST(KernelGains, NoTimeMovedIsNoGain) {
  EXPECT_DOUBLE_EQ(speedup_of({call("gemm", "dots", 100, 3.0)},
                              {call("gemm", "panels", 1, 0.1), call("gemm", "dots", 99, 3.1)}, {},
                              {{{"gemm", "panels"}, 2.0}}),
                   1.0);
  EXPECT_DOUBLE_EQ(speedup_of({call("gemm", "dots", 100, 3.0)}, {call("gemm", "panels", 100, 0.0)},
                              {}, {{{"gemm", "panels"}, 2.0}}),
                   1.0)
      << "a clock that saw nothing";
}

TEST(KernelGains, TimeOnTheDeviceCountsWhereItWasSampled) {
  const std::vector<CallTime> a = {{.signature = "gemm",
                                    .solution = "x",
                                    .calls = 100,
                                    .host_s = 1.0,
                                    .sampled_calls = 10,
                                    .device_s = 0.9},
                                   {.signature = "norm",
                                    .solution = "x",
                                    .calls = 100,
                                    .host_s = 1.0,
                                    .sampled_calls = 10,
                                    .device_s = 0.1}};
  std::vector<CallTime> b = a;
  for (CallTime& kernel : b) kernel.solution = "y";
  const auto gains = kernel_gains(a, b, {}, {});
  ASSERT_EQ(gains.size(), 2u);
  EXPECT_EQ(gains[0].signature, "gemm");
  EXPECT_DOUBLE_EQ(gains[0].share, 0.9);
}

}  // namespace
}  // namespace fib
