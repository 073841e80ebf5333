#include "harness/paired.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <random>

namespace fib {
namespace {

// A session as a machine might give it: `true_ns` of each contender, noise by `noise`, and
// `drift(round)` that all contenders of a round share.
struct Machine {
  std::array<double, kPairContenders> true_ns = {1000.0, 1000.0, 1000.0};
  std::function<double(std::mt19937_64&)> noise = [](std::mt19937_64& random) {
    return std::exp(std::normal_distribution(0.0, 0.01)(random));
  };
  std::function<double(int)> drift = [](int) { return 1.0; };

  std::vector<Sample> session(int rounds, uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::vector<Sample> samples;
    for (int round = 0; round < rounds; ++round) {
      for (uint32_t contender = 0; contender < kPairContenders; ++contender) {
        samples.push_back({.time_ns = true_ns[contender] * drift(round) * noise(random),
                           .contender = contender,
                           .round = static_cast<uint32_t>(round)});
      }
    }
    return samples;
  }
  // In how many of `sessions` the verdict was `result`.
  int count(PairedResult result, int sessions, int rounds) const {
    int found = 0;
    for (int seed = 0; seed < sessions; ++seed) {
      found += judge_pair(session(rounds, seed))->result == result ? 1 : 0;
    }
    return found;
  }
};

// Every fifth call meets something that takes up to thirty times as long.
double interrupted(std::mt19937_64& random) {
  const double usual = std::exp(std::normal_distribution(0.0, 0.01)(random));
  std::uniform_real_distribution<double> share;
  return share(random) < 0.2 ? usual * (1.0 + 30.0 * share(random)) : usual;
}

TEST(Paired, NoDifferenceIsSeldomCalledOne) {
  const Machine machine;
  for (const int rounds : {10, 40, 400}) {
    SCOPED_TRACE(rounds);
    EXPECT_LE(machine.count(PairedResult::kFaster, 2000, rounds), 20);  // 1 %
    EXPECT_LE(machine.count(PairedResult::kSlower, 2000, rounds), 20);
  }
  EXPECT_GE(machine.count(PairedResult::kSame, 2000, 400), 1950);
}

TEST(Paired, ThreePercentAreFoundUnderOnePercentOfNoise) {
  const Machine faster{.true_ns = {1000.0, 1030.0, 1030.0}};
  EXPECT_GE(faster.count(PairedResult::kFaster, 1000, 100), 990);
  const Machine slower{.true_ns = {1030.0, 1000.0, 1000.0}};
  EXPECT_GE(slower.count(PairedResult::kSlower, 1000, 100), 990);
}

TEST(Paired, TheIntervalHoldsTheTruthNineteenTimesOfTwenty) {
  const Machine machine{.true_ns = {1000.0, 1100.0, 1100.0}, .noise = interrupted};
  int held = 0;
  for (int seed = 0; seed < 2000; ++seed) {
    const auto estimate = judge_pair(machine.session(50, seed));
    held += estimate->speedup_low <= 1.1 && 1.1 <= estimate->speedup_high ? 1 : 0;
  }
  EXPECT_GE(held, 1890);
}

TEST(Paired, ClocksThatDriftForAllCancelOut) {
  // From 1 to 3 and back, with a step in the middle: far more than the difference.
  const auto drift = [](int round) {
    return 2.0 - std::cos(round * 0.2) + (round > 50 ? 0.7 : 0.0);
  };
  const Machine same{.drift = drift};
  EXPECT_LE(same.count(PairedResult::kFaster, 1000, 100), 10);
  const Machine faster{.true_ns = {1000.0, 1030.0, 1030.0}, .drift = drift};
  EXPECT_GE(faster.count(PairedResult::kFaster, 1000, 100), 990);
}

TEST(Paired, AHostThatInterruptsDoesNotFoolIt) {
  const Machine same{.noise = interrupted};
  EXPECT_LE(same.count(PairedResult::kFaster, 2000, 40), 20);
  EXPECT_LE(same.count(PairedResult::kSlower, 2000, 40), 20);
  const Machine faster{.true_ns = {1000.0, 1050.0, 1050.0}, .noise = interrupted};
  EXPECT_GE(faster.count(PairedResult::kFaster, 1000, 200), 950);
}

TEST(Paired, WhatTheControlShowsIsNotBelieved) {
  // The incumbent's two copies differ by 4 %: then 3 % mean nothing, 10 % do.
  const Machine three{.true_ns = {1000.0, 1030.0, 990.0}};
  EXPECT_EQ(three.count(PairedResult::kFaster, 200, 200), 0);
  EXPECT_GT(judge_pair(three.session(200, 1))->noise_floor, 0.03);
  const Machine ten{.true_ns = {1000.0, 1100.0, 1060.0}};
  EXPECT_EQ(ten.count(PairedResult::kFaster, 200, 200), 200);
}

TEST(Paired, OnAWildMachineNothingIsCalledTheSame) {
  const Machine wild{.noise = [](std::mt19937_64& random) {
    return std::exp(std::normal_distribution(0.0, 0.5)(random));
  }};
  EXPECT_EQ(wild.count(PairedResult::kSame, 200, 40), 0);
  EXPECT_GE(wild.count(PairedResult::kAmbiguous, 200, 40), 195);
}

TEST(Paired, SwappingTheTwoTurnsTheSpeedupOver) {
  const Machine machine{.true_ns = {1000.0, 1200.0, 1200.0}};
  std::vector<Sample> samples = machine.session(41, 7);
  const PairedEstimate forth = *judge_pair(samples);
  for (Sample& sample : samples) {
    if (sample.contender != kPairControl) sample.contender = 1 - sample.contender;
  }
  const PairedEstimate back = *judge_pair(samples);
  EXPECT_NEAR(forth.speedup * back.speedup, 1.0, 1e-12);
  EXPECT_NEAR(forth.speedup_low * back.speedup_high, 1.0, 1e-12);
  EXPECT_NEAR(forth.speedup_high * back.speedup_low, 1.0, 1e-12);
}

TEST(Paired, TheFloorOfAnEarlierSessionIsKept) {
  const Machine machine{.true_ns = {1000.0, 1030.0, 1030.0}};
  const std::vector<Sample> samples = machine.session(400, 3);
  EXPECT_EQ(judge_pair(samples)->result, PairedResult::kFaster);
  const PairedEstimate wary = *judge_pair(samples, 0.045);
  EXPECT_EQ(wary.result, PairedResult::kSame);
  EXPECT_DOUBLE_EQ(wary.noise_floor, 0.045);
  EXPECT_DOUBLE_EQ(judge_pair(machine.session(400, 3), 0.0)->noise_floor, kLeastNoiseFloor);
}

TEST(Paired, RoundsThatLackAContenderDoNotCount) {
  std::vector<Sample> samples = Machine{}.session(10, 1);
  std::erase_if(samples, [](const Sample& sample) {
    return sample.round == 3 && sample.contender == kPairIncumbent;
  });
  samples.push_back({.time_ns = 1.0, .contender = kPairContenders, .round = 3});  // a stranger
  EXPECT_EQ(judge_pair(samples)->rounds, 9);
}

TEST(Paired, WhatWasTooShortToMeasureIsNoEvidence) {
  const Machine machine{.true_ns = {0.5, 1000.0, 1000.0}};
  EXPECT_FALSE(judge_pair(machine.session(40, 1)));
}

TEST(Paired, FiveRoundsGiveNoInterval) {
  EXPECT_FALSE(judge_pair({}));
  EXPECT_FALSE(judge_pair(Machine{}.session(5, 1)));
  const auto estimate = judge_pair(Machine{}.session(6, 1));
  ASSERT_TRUE(estimate);
  EXPECT_EQ(estimate->rounds, 6);
}

std::vector<Sample> of(const std::vector<Sample>& samples, uint32_t contender) {
  std::vector<Sample> own;
  for (const Sample& sample : samples) {
    if (sample.contender == contender) own.push_back(sample);
  }
  return own;
}

TEST(Paired, TwoContendersHaveAnEstimateWithoutAControl) {
  Machine machine{.true_ns = {500.0, 1000.0, 1000.0}};
  machine.drift = [](int round) { return 1.0 + 0.5 * (round % 3); };  // all of a round alike
  const std::vector<Sample> samples = machine.session(20, 7);
  std::vector<Sample> candidate = of(samples, kPairCandidate);
  const std::vector<Sample> incumbent = of(samples, kPairIncumbent);
  const auto estimate = estimate_speedup(candidate, incumbent);
  ASSERT_TRUE(estimate);
  EXPECT_NEAR(estimate->speedup, 2.0, 0.03);
  EXPECT_LT(estimate->speedup_low, estimate->speedup);
  EXPECT_LT(estimate->speedup, estimate->speedup_high);
  EXPECT_EQ(estimate->rounds, 20);
  // Rounds that lack one of them, or a time that could be measured, don't count.
  candidate.resize(8);
  candidate[0].time_ns = 1.0;
  candidate[1].round = 99;
  EXPECT_EQ(estimate_speedup(candidate, incumbent)->rounds, 6);
  candidate.resize(7);
  EXPECT_FALSE(estimate_speedup(candidate, incumbent));
  EXPECT_FALSE(estimate_speedup({}, incumbent));
}

TEST(Paired, PairsAreTimedColdOnlyAndLonger) {
  const MeasureConfig alone;
  const MeasureConfig paired = paired_config(alone);
  EXPECT_EQ(paired.modes, std::vector{TimingMode::kCold});
  EXPECT_GT(paired.min_samples, alone.min_samples);
  EXPECT_LT(paired.target_relative_ci, alone.target_relative_ci);
  EXPECT_DOUBLE_EQ(paired.max_seconds_per_mode, 3 * alone.max_seconds_per_mode);
  EXPECT_EQ(paired.value_sets, alone.value_sets);
}

}  // namespace
}  // namespace fib
