// Who wins a bucket, told by small sets of pairs.

#include "tests/integrations/package/export/winners_fixture.h"

namespace fib::testing {
namespace {

// One candidate for the family, "mine", and one for the signature alone, "special".
Evidence evidence() {
  return Evidence()
      .solution(make_solution("mine"))
      .solution(make_solution("special", {.definition = "rmsnorm_h64"}));
}

TEST(Winners, AConfirmedGainWinsItsBucketAndNoOther) {
  Evidence given = evidence().pair({"mine", "rows"});
  const Winners winners = given.select();
  ASSERT_EQ(winners.packaged.hardware.size(), 1u);
  EXPECT_EQ(winners.packaged.hardware[0].target, "cpu");
  ASSERT_EQ(winners.packaged.hardware[0].buckets.size(), 1u);
  const BucketChoice& bucket = winners.packaged.hardware[0].buckets[0];
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(bucket.reason, "1.50x [1.48, 1.52] on 1 workload, confirmed over rows");
  EXPECT_EQ(bucket.evidence.verdicts, std::vector<int64_t>{1});
  EXPECT_EQ(bucket.evidence.workloads, std::vector<std::string>{"w8"});
  EXPECT_EQ(bucket.evidence.incumbent, "rows");
  EXPECT_EQ(bucket.evidence.measured, "2026-11-22T10:01:00+01:00");
  EXPECT_DOUBLE_EQ(bucket.evidence.speedup, 1.5);
  EXPECT_DOUBLE_EQ(bucket.evidence.speedup_low, 1.48);

  // The house's come first, in their order, and serve what nobody won; then the winner.
  ASSERT_EQ(winners.packaged.solutions.size(), 3u);
  EXPECT_EQ(winners.packaged.cpu_fallback, (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(winners.packaged.cuda_fallback.empty());
  EXPECT_EQ(winners.packaged.own_parameters, std::vector<double>{1e-6});

  ASSERT_EQ(winners.explanations.size(), 1u);
  EXPECT_EQ(winners.explanations[0].bucket, "batch_size 5..8");
  EXPECT_EQ(winners.explanations[0].chosen, "mine");
  EXPECT_EQ(winners.explanations[0].reasons,
            std::vector<std::string>{"mine: 1.50x [1.48, 1.52] on 1 workload, confirmed: chosen"});
}

TEST(Winners, WhatIsNotAGainDoesntWin) {
  struct Case {
    PairSpec pair;
    std::string reason;
    WinnerOptions options = {};
  };
  const Case cases[] = {
      {{"mine", "rows", 8, 0.9}, "slower than the fallback 'rows'"},
      {{"mine", "rows", 8, 1.015, 0.001}, "gains less than 2 % over the fallback 'rows'"},
      {{"mine", "rows", 8, 1.3}, "gains less than 50 %", {.min_gain = 0.5}},
      {{"mine", "rows", 8, 1.05, 0.2}, "no clear gain over the fallback 'rows'"},
      {{"mine", "rows", 8, 1.5, 0.02, Win::kUnconfirmed},
       "1.00x [1.00, 1.52] on 1 workload, not confirmed: gains less than 2 % over the fallback "
       "'rows'; wins that weren't confirmed count as draws"},
      {{"mine", "rows", 8, 1.008, 0.001}, "no win of it was confirmed", {.min_gain = 0.0}},
  };
  for (const Case& c : cases) {
    const Evidence given = evidence().pair(c.pair);
    EXPECT_EQ(given.choose(c.options), "") << c.reason;
    EXPECT_NE(given.reason("mine", c.options).find(c.reason), std::string::npos)
        << given.reason("mine", c.options) << "\nwithout: " << c.reason;
  }
}

// One clear win and two workloads on which nothing could be told: the mean is of all three, what
// was confirmed is of one.
TEST(Winners, WhatIsConfirmedIsCountedInWorkloads) {
  const Evidence given = evidence()
                             .pair({"mine", "rows", 6, 1.6})
                             .pair({"mine", "rows", 7, 1.4, 0.6})
                             .pair({"mine", "rows", 8, 1.5, 0.7});
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_NE(given.reason("mine").find("on 3 workloads, 1 of 3 confirmed: chosen"),
            std::string::npos)
      << given.reason("mine");
}

TEST(Winners, PoliciesAskForMoreOrLess) {
  const WinnerOptions fastest{.policy = WinnerPolicy::kFastest};
  const WinnerOptions conservative{.policy = WinnerPolicy::kConservative};
  const Evidence unconfirmed = evidence().pair({"mine", "rows", 8, 1.5, 0.02, Win::kUnconfirmed});
  EXPECT_EQ(unconfirmed.choose(), "");
  EXPECT_EQ(unconfirmed.choose(fastest), "CPU_A: batch_size 5..8 -> mine");

  // Faster on the whole, but not everywhere.
  const Evidence mixed = evidence().pair({"mine", "rows", 7, 1.6}).pair({"mine", "rows", 8, 0.95});
  EXPECT_EQ(mixed.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(mixed.choose(conservative), "");
  EXPECT_EQ(
      mixed.reason("mine", conservative),
      "1.23x [1.21, 1.25] on 2 workloads (0.95x on w8), 1 of 2 confirmed: 2 % are not certain on "
      "every workload: 0.93x at least");

  // Not measured where another was.
  const Evidence partly =
      evidence().pair({"mine", "rows", 7, 1.6}).pair({"special", "rows", 8, 0.9});
  EXPECT_EQ(partly.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(partly.choose(conservative), "");
  EXPECT_NE(partly.reason("mine", conservative).find("measured on 1 of 2 workloads of this bucket"),
            std::string::npos);

  // The best estimate, however uncertain.
  const Evidence rivals = evidence()
                              .pair({"mine", "rows", 8, 1.5})
                              .pair({"special", "rows", 8, 1.52, 0.4, Win::kUnconfirmed});
  EXPECT_EQ(rivals.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(rivals.choose(fastest), "CPU_A: batch_size 5..8 -> special");
  EXPECT_NE(rivals.reason("mine", fastest).find("'special' is estimated faster"),
            std::string::npos);
}

TEST(Winners, NeverByEvidenceOfOtherHardware) {
  Evidence given = evidence()
                       .pair({"mine", "rows", 8, 0.9})
                       .pair({"mine", "rows", 8, 2.0, 0.02, Win::kConfirmed, 1, "", "CPU_B"});
  EXPECT_EQ(given.choose(), "CPU_B: batch_size 5..8 -> mine");
}

TEST(Winners, TiesGoToTheMoreGeneral) {
  const Evidence family =
      evidence().pair({"mine", "rows", 8, 1.48}).pair({"special", "rows", 8, 1.5});
  EXPECT_EQ(family.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_NE(
      family.reason("special").find("confirmed: tied with 'mine', which serves the whole family"),
      std::string::npos);

  // Timed side by side they can be told apart, and that counts.
  Evidence direct = family;
  direct.pair({"special", "mine", 8, 1.03, 0.01});
  EXPECT_EQ(direct.choose(), "CPU_A: batch_size 5..8 -> special");
  EXPECT_NE(direct.reason("mine").find("'special' is 1.03x as fast"), std::string::npos);

  // Neighbours decide between equals in generality, in whatever order buckets come.
  for (const int64_t neighbour : {2, 100}) {
    const Evidence beside = evidence()
                                .solution(make_solution("other"))
                                .pair({"other", "rows", 8, 1.5})
                                .pair({"mine", "rows", 8, 1.49})
                                .pair({"mine", "rows", neighbour, 1.5})
                                .pair({"other", "rows", neighbour, 1.2});
    EXPECT_EQ(beside.choose(), neighbour == 2 ? "CPU_A: batch_size 2..8 -> mine"
                                              : "CPU_A: batch_size 5..128 -> mine");
  }

  const Evidence house = evidence().pair({"mine", "rows", 8, 1.5}).pair({"plain", "rows", 8, 1.49});
  EXPECT_EQ(house.choose(), "CPU_A: batch_size 5..8 -> plain");
  EXPECT_EQ(house.select().packaged.solutions.size(), 2u) << "plain is there once";
  EXPECT_NE(house.reason("mine").find("tied with 'plain', which is the house's"),
            std::string::npos);

  const Evidence equals = evidence()
                              .solution(make_solution("other"))
                              .pair({"mine", "rows", 8, 1.49})
                              .pair({"other", "rows", 8, 1.5});
  EXPECT_EQ(equals.choose(), "CPU_A: batch_size 5..8 -> other");
  EXPECT_NE(equals.reason("mine").find("which has the higher estimate"), std::string::npos);
}

TEST(Winners, WorkloadsCountByTheirTraffic) {
  Evidence given = evidence()
                       .pair({"mine", "rows", 7, 2.0, 0.02, Win::kConfirmed, 1.0})
                       .pair({"mine", "rows", 8, 0.9, 0.02, Win::kConfirmed, 1.0});
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine") << "1.34x";
  given.input().records[1].weight = 100.0;
  EXPECT_EQ(given.choose(), "") << "0.91x";
}

TEST(Winners, CandidatesOfOtherIncumbentsAreComparedInChains) {
  // mine was timed beside special, special beside rows.
  const Evidence chain =
      evidence().pair({"mine", "special", 8, 1.2}).pair({"special", "rows", 8, 1.5});
  const Winners winners = chain.select();
  EXPECT_EQ(chain.choose(), "CPU_A: batch_size 5..8 -> mine");
  const fib::Evidence& found = winners.packaged.hardware[0].buckets[0].evidence;
  EXPECT_DOUBLE_EQ(found.speedup, 1.8);
  EXPECT_DOUBLE_EQ(found.speedup_low, 1.18 * 1.48) << "widened";
  EXPECT_DOUBLE_EQ(found.speedup_high, 1.22 * 1.52);
  EXPECT_EQ(found.verdicts, (std::vector<int64_t>{1, 2}));
  EXPECT_NE(chain.reason("mine").find("through other solutions, confirmed: chosen"),
            std::string::npos);

  // rows itself was the candidate: the same pair, read the other way, but nobody's confirmed win.
  const Evidence backward = evidence().pair({"rows", "mine", 8, 0.5});
  EXPECT_EQ(backward.choose(), "");
  EXPECT_EQ(backward.choose({.policy = WinnerPolicy::kFastest}), "CPU_A: batch_size 5..8 -> mine");

  const Evidence apart = evidence().pair({"mine", "special", 8, 1.2});
  EXPECT_EQ(apart.choose(), "");
  EXPECT_EQ(apart.reason("mine"),
            "not comparable: no chain of pairs leads to the fallback 'rows' here");
}

TEST(Winners, TheNewestPairCounts) {
  const Evidence given = evidence().pair({"mine", "rows", 8, 1.5}).pair({"mine", "rows", 8, 0.9});
  EXPECT_EQ(given.choose(), "");
}

TEST(Winners, OfAFewWorkloadsLessIsNotSetAgainstAll) {
  const Evidence given = evidence()
                             .pair({"mine", "rows", 7, 1.3})
                             .pair({"mine", "rows", 8, 1.3})
                             .pair({"special", "rows", 8, 2.0});
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_NE(given.reason("special").find("measured on 1 workload here, 'mine' on 2"),
            std::string::npos);
}

TEST(Winners, WhoFailsInABucketCantWinThere) {
  Evidence given =
      evidence().pair({"mine", "rows", 8}).pair({"mine", "rows", 64}).failure("mine", 7);
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 33..64 -> mine");
  EXPECT_NE(
      given.reason("mine").find("INCORRECT_NUMERICAL on w7 (verdict 3), so it can't win here"),
      std::string::npos);
  EXPECT_EQ(given.choose({.policy = WinnerPolicy::kFastest}), "CPU_A: batch_size 33..64 -> mine");
}

TEST(Winners, AFallbackThatDoesntCompileThereIsNone) {
  const Evidence given =
      evidence().pair({"mine", "plain", 8, 1.5}).failure("rows", 8, VerdictStatus::kCompileError);
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(given.select().packaged.hardware[0].buckets[0].evidence.incumbent, "plain");
}

TEST(Winners, OnlyThoseThatAreAskedFor) {
  const Evidence given =
      evidence().pair({"mine", "rows", 8, 1.5}).pair({"special", "rows", 8, 2.0});
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> special");
  EXPECT_EQ(given.choose({.only = {"mine"}}), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(given.choose({.only = {given.key("mine")}}), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_NE(given.reason("special", {.only = {"mine"}}).find("not asked for"), std::string::npos);
}

TEST(Winners, OfVersionsTheNewestRuns) {
  Evidence given = evidence().pair({"mine", "rows", 8, 2.0});
  Solution newer = make_solution("mine", {.source = "second version"});
  const std::string old_key = given.key("mine");
  given.solution(newer);
  PairedRecord record = given.input().records[0];
  record.verdict_id = 9;
  record.candidate_key = solution_key(newer);
  record.speedup = 1.2, record.speedup_low = 1.18, record.speedup_high = 1.22;
  given.input().records.push_back(record);
  EXPECT_DOUBLE_EQ(given.select().packaged.hardware[0].buckets[0].evidence.speedup, 1.2);
  EXPECT_DOUBLE_EQ(
      given.select({.only = {old_key}}).packaged.hardware[0].buckets[0].evidence.speedup, 2.0);
}

TEST(Winners, SolutionsWithoutALicenceCantBePassedOn) {
  Evidence given = Evidence().solution(make_solution("mine", {.license = ""}));
  given.pair({"mine", "rows"});
  EXPECT_EQ(given.choose(), "");
  EXPECT_NE(given.reason("mine").find("has no licence"), std::string::npos);
}

TEST(Winners, NeighboursOfOneWinnerAreOneRange) {
  const Evidence given = evidence()
                             .pair({"mine", "rows", 1})
                             .pair({"mine", "rows", 2})
                             .pair({"mine", "rows", 64})        // 3 to 32 lie between
                             .pair({"mine", "rows", 200, 0.8})  // not here
                             .pair({"mine", "rows", 1000});
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 1..64 -> mine; CPU_A: batch_size 513..1024 -> mine")
      << "nothing beyond what was measured";
  const Winners winners = given.select();
  const BucketChoice& range = winners.packaged.hardware[0].buckets[0];
  EXPECT_EQ(range.evidence.workloads, (std::vector<std::string>{"w1", "w2", "w64"}));
  EXPECT_EQ(range.reason,
            "1.50x [1.48, 1.52] on 3 workloads, confirmed over rows; measured in 3 of 7 buckets, "
            "the others lie between");
  EXPECT_EQ(winners.explanations.size(), 5u) << "why, bucket by bucket";
}

TEST(Winners, CapacitiesAreNotLookedAt) {
  Evidence given;
  given.input().signature = signature("gqa_paged_decode_h4_kv2_d64_ps1");
  given.input().own_parameters.clear();
  given.solution(make_solution("mine", {.definition = "gqa_paged_decode"}));
  given.pair({"mine", "rows", 8}).pair({"mine", "rows", 8});
  for (const int64_t pages : {100, 100000}) {
    PairedRecord& record = given.input().records[pages == 100 ? 0 : 1];
    record.workload = fmt::format("pages{}", pages);
    record.axes = {
        {"batch_size", 8}, {"num_pages", pages}, {"len_indptr", 9}, {"num_kv_indices", pages / 2}};
  }
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(given.select().packaged.hardware[0].buckets[0].evidence.workloads.size(), 2u);
}

TEST(Winners, PairsOfOtherAxesAreLeftOutAndCounted) {
  Evidence given = evidence().pair({"mine", "rows", 8}).pair({"mine", "rows", 16});
  given.input().records[1].axes = {{"rows", 16}};
  EXPECT_EQ(given.choose(), "CPU_A: batch_size 5..8 -> mine");
  EXPECT_EQ(given.select().explanations[0].reasons[0].substr(0, 19), "1 pairs left out: t");
}

TEST(Winners, WithoutAHouseSolutionThereAreNone) {
  Evidence given = evidence().pair({"mine", "rows"});
  for (PairedRecord& record : given.input().records) record.target = "cuda";
  EXPECT_EQ(given.choose(), "");
  EXPECT_NE(given.select().explanations[0].reasons[0].find("no solution for cuda"),
            std::string::npos);
  given.input().house.clear();
  const auto none = select_winners(given.input(), {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
}

TEST(Winners, NoEvidenceNoWinners) {
  EXPECT_EQ(evidence().choose(), "");
  EXPECT_TRUE(evidence().select().explanations.empty());
}

}  // namespace
}  // namespace fib::testing
