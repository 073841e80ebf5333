#include <cmath>

#include "leaderboard/paired_record.h"
#include "tests/leaderboard/store_fixture.h"

namespace fib {
namespace {

using namespace fib::testing;

// Of "rows" against "plain", unless told otherwise.
Verdict make_pair_verdict(const VerdictSpec& spec, PairedResult result, double speedup) {
  Verdict verdict = make_verdict(spec);
  verdict.paired = result;
  verdict.incumbent = "plain";
  verdict.incumbent_key = solution_key(make_solution("plain"));
  verdict.speedup = speedup;
  verdict.speedup_low = speedup * 0.98;
  verdict.speedup_high = speedup * 1.02;
  verdict.noise_floor = 0.0125;
  verdict.is_confirmed = result == PairedResult::kFaster;
  verdict.paired_samples = {
      {TimingMode::kCold, Clock::kHost, {{.time_ns = 1.0}, {.time_ns = 2.0, .contender = 1}}},
      {TimingMode::kCold, Clock::kHost, {{.time_ns = 3.0, .contender = 2}}}};
  return verdict;
}

class PairedStore : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = open_store(folder_ / "fib.db");
    ASSERT_NE(store_, nullptr);
    ASSERT_TRUE(store_->add_solution(make_solution("plain")));
  }
  int64_t add_pair(const VerdictSpec& spec, PairedResult result, double speedup) {
    const auto id = store_->add(make_pair_verdict(spec, result, speedup),
                                make_solution(spec.solution, spec.author),
                                make_workload(spec.workload, spec.weight));
    EXPECT_TRUE(id) << id.error().to_string();
    return id.value_or(0);
  }
  VerdictKey key() const {
    return {.solution_key = solution_key(make_solution("rows")),
            .signature = "rmsnorm_h4096",
            .workload = "w1",
            .hardware = "TEST_CPU",
            .config_key = "config-a",
            .incumbent_key = solution_key(make_solution("plain"))};
  }

  ScratchFolder folder_;
  std::unique_ptr<Store> store_;
};

TEST_F(PairedStore, KeepsWhatSelectionNeeds) {
  const int64_t id = add_pair({.weight = 2.5}, PairedResult::kFaster, 1.25);
  const auto records = store_->paired({});
  ASSERT_TRUE(records) << records.error().to_string();
  ASSERT_EQ(records->size(), 1u);
  const PairedRecord& record = records->front();
  EXPECT_EQ(record.verdict_id, id);
  EXPECT_EQ(record.candidate, "rows");
  EXPECT_EQ(record.candidate_key, solution_key(make_solution("rows")));
  EXPECT_EQ(record.incumbent, "plain");
  EXPECT_EQ(record.incumbent_key, solution_key(make_solution("plain")));
  EXPECT_EQ(record.signature, "rmsnorm_h4096");
  EXPECT_EQ(record.workload, "w1");
  EXPECT_EQ(record.hardware, "TEST_CPU");
  EXPECT_EQ(record.target, "cpu");
  EXPECT_EQ(record.config_key, "config-a");
  EXPECT_EQ(record.axes, (Json{{"batch_size", 7}}));
  EXPECT_EQ(record.weight, 2.5);
  EXPECT_EQ(record.result, PairedResult::kFaster);
  EXPECT_EQ(record.speedup, 1.25);
  EXPECT_EQ(record.speedup_low, 1.25 * 0.98);
  EXPECT_EQ(record.speedup_high, 1.25 * 1.02);
  EXPECT_TRUE(record.is_confirmed);
  EXPECT_EQ(record.timestamp, "2026-01-02T03:04:05");
}

TEST_F(PairedStore, GivesBackTheVerdictWithItsPairsSamplesApart) {
  const int64_t id = add_pair({}, PairedResult::kFaster, 1.25);
  const Verdict verdict = store_->get(id).value();
  EXPECT_EQ(verdict.noise_floor, 0.0125);
  ASSERT_EQ(verdict.samples.size(), 1u);
  ASSERT_EQ(verdict.paired_samples.size(), 2u);
  EXPECT_EQ(verdict.paired_samples[0].samples.at(1).contender, 1u);
  EXPECT_EQ(verdict.paired_samples[1].samples.at(0).time_ns, 3.0);
}

TEST_F(PairedStore, OfTheSamePairTheNewestCounts) {
  add_pair({}, PairedResult::kFaster, 1.25);
  add_pair({.workload = "w2"}, PairedResult::kSame, 1.0);
  add_pair({.hardware = "OTHER"}, PairedResult::kSlower, 0.5);
  add_pair({.solution = "third"}, PairedResult::kAmbiguous, 1.1);
  const int64_t newest = add_pair({.config = "config-b"}, PairedResult::kSame, 1.001);
  ASSERT_TRUE(add(*store_, {})) << "a verdict without a pair hides none";
  EXPECT_EQ(store_->paired({})->size(), 4u);
  EXPECT_EQ(store_->paired({})->back().verdict_id, newest);
  EXPECT_EQ(store_->paired({.signature = "rmsnorm_h4096", .hardware = "TEST_CPU"})->size(), 3u);
  EXPECT_EQ(store_->paired({.hardware = "OTHER"})->at(0).result, PairedResult::kSlower);
  EXPECT_TRUE(store_->paired({.signature = "gemm"})->empty());
}

TEST_F(PairedStore, ResumesPairsByTheirIncumbent) {
  ASSERT_TRUE(add(*store_, {}));
  EXPECT_EQ(store_->find(key()).value(), std::nullopt) << "passed, but was not paired";
  const int64_t id = add_pair({}, PairedResult::kSame, 1.0);
  EXPECT_EQ(store_->find(key()).value(), id);
  ASSERT_TRUE(add(*store_, {}));
  EXPECT_EQ(store_->find(key()).value(), id);
  VerdictKey other = key();
  other.incumbent_key = solution_key(make_solution("third"));
  EXPECT_EQ(store_->find(other).value(), std::nullopt);
}

TEST_F(PairedStore, AnInterruptedConfirmationIsTakenUpAgain) {
  Verdict verdict = make_pair_verdict({}, PairedResult::kFaster, 1.25);
  verdict.is_confirmed = false;
  ASSERT_TRUE(store_->add(verdict, make_solution("rows"), make_workload("w1")));
  EXPECT_EQ(store_->find(key()).value(), std::nullopt);
  const int64_t id = add_pair({}, PairedResult::kFaster, 1.25);
  EXPECT_EQ(store_->find(key()).value(), id);
}

TEST_F(PairedStore, WhatFailedNeedsNoPair) {
  const int64_t id = add(*store_, {.status = VerdictStatus::kIncorrectNumerical}).value();
  EXPECT_EQ(store_->find(key()).value(), id);
}

TEST_F(PairedStore, AnUnknownIncumbentLeavesNothingBehind) {
  Verdict verdict = make_pair_verdict({}, PairedResult::kFaster, 1.25);
  verdict.incumbent_key = "nobody";
  const auto id = store_->add(verdict, make_solution("rows"), make_workload("w1"));
  ASSERT_FALSE(id);
  EXPECT_NE(id.error().message.find("'plain' of a pair is not in the store"), std::string::npos);
  EXPECT_EQ(store_->count_verdicts().value(), 0);
}

PairedRecord record(PairedResult result, double speedup, double weight, double factor = 1.1) {
  return {.weight = weight,
          .result = result,
          .speedup = speedup,
          .speedup_low = speedup / factor,
          .speedup_high = speedup * factor,
          .is_confirmed = result == PairedResult::kFaster};
}

TEST(PairedSummary, IsTheGeometricMeanWeightedByTraffic) {
  const std::vector<PairedRecord> records = {record(PairedResult::kFaster, 4.0, 3.0),
                                             record(PairedResult::kSlower, 0.25, 1.0)};
  const PairedSummary summary = summarise_pairs(records);
  EXPECT_NEAR(summary.speedup, 2.0, 1e-12);
  // Errors of shares 3/4 and 1/4 add in squares.
  const double half_width = std::log(1.1) * std::sqrt(0.75 * 0.75 + 0.25 * 0.25);
  EXPECT_NEAR(summary.speedup_low, 2.0 * std::exp(-half_width), 1e-12);
  EXPECT_NEAR(summary.speedup_high, 2.0 * std::exp(half_width), 1e-12);
  EXPECT_EQ(summary.workloads, 2);
  EXPECT_EQ(summary.faster, 1);
  EXPECT_EQ(summary.confirmed, 1);
  EXPECT_EQ(summary.slower, 1);
}

TEST(PairedSummary, WeightsOfNothingAndNoPairs) {
  const std::vector<PairedRecord> unseen = {record(PairedResult::kSame, 1.0, 0.0),
                                            record(PairedResult::kAmbiguous, 4.0, 0.0)};
  EXPECT_NEAR(summarise_pairs(unseen).speedup, 2.0, 1e-12);
  EXPECT_EQ(summarise_pairs({}).workloads, 0);
  EXPECT_EQ(summarise_pairs({}).speedup, 1.0);
}

TEST(PairedRecord, AVerdictWithoutAPairHasNone) {
  EXPECT_FALSE(paired_record_of(make_verdict({})));
}

}  // namespace
}  // namespace fib
