// The bench on this machine's processors: what becomes of right, wrong, crashing and hanging
// candidates.

#include "agents/search/live_bench.h"

#include "agents/search/judgement.h"
#include "agents/search/screening.h"
#include "tests/agents/search/bench_fixture.h"

namespace fib::agents {
namespace {

using testing::HasSubstr;
using testing::Not;

class LiveBenchTest : public CpuTest {
 protected:
  LiveBenchOptions options() {
    LiveBenchOptions options{.runner = runner(),
                             .devices = runner().devices(),
                             .problems = {rows_problem(7, 3.0), rows_problem(40, 1.0)},
                             .baseline = house_rmsnorm("rmsnorm-plain"),
                             .evaluation = {.measure = config_},
                             .expected = expected_,
                             .store = *store_,
                             .builders = 2};
    options.evaluation.measure.modes = {TimingMode::kCold};
    options.evaluation.measure.value_sets = 2;
    options.evaluation.measure.min_samples = 6;
    options.screening.min_samples = 8;
    options.screening.max_samples = 8;
    options.screening.call_timeout_s = 1.0;
    return options;
  }
  Bench& bench() {
    if (!bench_) bench_ = must(make_live_bench(options()));
    return *bench_;
  }
  BuiltCandidate build(const Solution& solution) {
    BuiltCandidate built = must(bench().build(solution));
    EXPECT_TRUE(built.compiles) << built.log;
    return built;
  }
  Screening screen(const Solution& solution) {
    return must(bench().screen(0, solution, build(solution)));
  }

  const Solution wrong_ = edited("wrong", "out[i] = narrow(", "out[i] = narrow(1.5f * ");
  const Solution crashing_ =
      edited("crashing", "  call->parallel_for", "  __builtin_trap();\n  call->parallel_for");
  const Solution hanging_ = edited("hanging", "  call->parallel_for",
                                   "  for (volatile int i = 1; i;) {\n  }\n  call->parallel_for");

  ExpectedCache expected_{{}, 0, size_t{1} << 28};
  std::unique_ptr<Store> store_ = must(Store::open(folder_.path() / "fib.db"));
  std::unique_ptr<Bench> bench_;
};

TEST_F(LiveBenchTest, ARightCandidateIsScreenedJudgedAndConfirmed) {
  const Solution rows = house_rmsnorm("rmsnorm-rows");
  const BuiltCandidate built = build(rows);
  EXPECT_FALSE(built.code_key.empty());
  EXPECT_GT(built.behaviour.code_bytes, 0);
  EXPECT_GT(built.build_s, 0.0);
  EXPECT_EQ(bench().devices(), 1);
  EXPECT_EQ(bench().builders(), 2);

  const Screening screening = must(bench().screen(0, rows, built));
  EXPECT_EQ(screening.verdict.status, VerdictStatus::kPassed) << screening.verdict.message;
  EXPECT_GT(screening.speedup, 0.0);
  EXPECT_LE(screening.speedup_low, screening.speedup);
  EXPECT_LE(screening.speedup, screening.speedup_high);
  EXPECT_GT(screening.device_s, 0.0);
  EXPECT_EQ(must(store_->count_verdicts()), 0);  // a look, no verdict

  const Judgement judgement = must(bench().judge(0, rows, built));
  EXPECT_TRUE(judgement.passed);
  ASSERT_EQ(judgement.verdicts.size(), 2u);
  EXPECT_LE(judgement.speedup_low, judgement.speedup);
  EXPECT_LE(judgement.speedup, judgement.speedup_high);
  EXPECT_GT(judgement.speedup_low, 0.0);
  EXPECT_GT(judgement.behaviour.relative_error, 0.0);
  EXPECT_EQ(judgement.behaviour.code_bytes, built.behaviour.code_bytes);
  EXPECT_FALSE(judgement.behaviour.bound.empty());
  for (size_t i = 0; i < 2; ++i) {
    const Verdict stored = must(store_->get(judgement.verdict_ids.at(i)));
    EXPECT_EQ(stored.workload, i == 0 ? "rows-7" : "rows-40");
    EXPECT_EQ(stored.incumbent, "rmsnorm-plain");
    EXPECT_NE(stored.paired, PairedResult::kNone) << stored.paired_note;
    EXPECT_FALSE(stored.is_confirmed);
    EXPECT_FALSE(stored.samples.empty());
    EXPECT_FALSE(stored.paired_samples.empty());
    EXPECT_EQ(stored.config_key, options().evaluation.config_key(*bench_signature()));
    EXPECT_EQ(judgement.verdicts[i].id, stored.id);
    EXPECT_TRUE(judgement.verdicts[i].samples.empty());
  }
  EXPECT_EQ(must(store_->paired({})).size(), 2u);

  const Judgement confirmed = must(bench().confirm(0, rows, built));
  EXPECT_TRUE(confirmed.passed);
  ASSERT_EQ(confirmed.verdict_ids.size(), 2u);
  EXPECT_GT(confirmed.verdict_ids.front(), judgement.verdict_ids.back());
  EXPECT_GT(confirmed.speedup, 0.0);
  // And the session goes on.
  EXPECT_EQ(must(bench().screen(0, rows, built)).verdict.status, VerdictStatus::kPassed);
}

// Whoever is to be beaten here is so slow that it is not a matter of time.
TEST_F(LiveBenchTest, ARaceLooksAtTheOtherWorkloadsToo) {
  RaceRequest request{.rival = {.speedup_low = 1e-6, .speedups = {}}};
  const Solution rows = house_rmsnorm("rmsnorm-rows");
  request.screening = screen(rows);
  const Race race = must(bench().race(0, rows, build(rows), request));
  EXPECT_FALSE(race.is_beaten);
  EXPECT_EQ(race.workloads, 2);
  ASSERT_EQ(race.verdicts.size(), 2u);
  EXPECT_EQ(race.verdicts[1].workload, "rows-40");
  EXPECT_EQ(race.verdicts[1].status, VerdictStatus::kPassed) << race.verdicts[1].message;
  EXPECT_LE(race.speedup_low, race.speedup);
  EXPECT_LE(race.speedup, race.speedup_high);
  EXPECT_GT(race.behaviour.relative_error, 0.0);
  EXPECT_GT(race.behaviour.code_bytes, 0);
  EXPECT_EQ(must(store_->count_verdicts()), 0);

  for (const Solution* broken : {&wrong_, &crashing_}) {
    const Race failed = must(bench().race(0, *broken, build(*broken), request));
    EXPECT_FALSE(failed.is_beaten);
    EXPECT_NE(failed.verdicts.back().status, VerdictStatus::kPassed) << broken->name;
  }
  EXPECT_EQ(must(bench().race(0, rows, build(rows), request)).verdicts.back().status,
            VerdictStatus::kPassed);
}

TEST_F(LiveBenchTest, AWrongCandidateFailsAtTheFirstLook) {
  const BuiltCandidate built = build(wrong_);
  const Screening screening = must(bench().screen(0, wrong_, built));
  EXPECT_EQ(screening.verdict.status, VerdictStatus::kIncorrectNumerical);
  EXPECT_EQ(screening.speedup, 0.0);
  const Judgement judgement = must(bench().judge(0, wrong_, built));
  EXPECT_FALSE(judgement.passed);
  EXPECT_EQ(judgement.speedup, 0.0);
  ASSERT_EQ(judgement.verdicts.size(), 1u);  // the other workload is not worth it
  EXPECT_EQ(must(store_->get(judgement.verdict_ids.at(0))).status,
            VerdictStatus::kIncorrectNumerical);
  EXPECT_FALSE(must(bench().confirm(0, wrong_, built)).passed);
}

TEST_F(LiveBenchTest, ACrashAndAHangAreVerdictsAndTheNextOneIsWell) {
  const Screening crash = screen(crashing_);
  EXPECT_EQ(crash.verdict.status, VerdictStatus::kRuntimeError);
  EXPECT_EQ(crash.verdict.reason, "crash");
  const Screening hang = screen(hanging_);
  EXPECT_EQ(hang.verdict.status, VerdictStatus::kTimeout);
  EXPECT_EQ(hang.speedup, 0.0);
  const Judgement judgement = must(bench().judge(0, crashing_, build(crashing_)));
  EXPECT_FALSE(judgement.passed);
  EXPECT_EQ(judgement.verdicts.at(0).reason, "crash");
  const Screening next = screen(house_rmsnorm("rmsnorm-rows"));
  EXPECT_EQ(next.verdict.status, VerdictStatus::kPassed) << next.verdict.message;
  EXPECT_GT(next.speedup, 0.0);
}

TEST_F(LiveBenchTest, WhatDoesntCompileIsAnAnswer) {
  const BuiltCandidate broken =
      must(bench().build(edited("broken", "float sum = 0.0f;", "float sum = zero;")));
  EXPECT_FALSE(broken.compiles);
  EXPECT_THAT(broken.log, HasSubstr("error:"));
  EXPECT_THAT(broken.log, HasSubstr("zero"));
  EXPECT_TRUE(broken.code_key.empty());
  Solution foreign = house_rmsnorm("rmsnorm-plain");
  foreign.fib = nullptr;
  EXPECT_FALSE(must(bench().build(foreign)).compiles);
  Solution other = house_rmsnorm("rmsnorm-plain");
  other.definition = "gemm_n128_k2048";
  EXPECT_THAT(must(bench().build(other)).log, HasSubstr("gemm_n128_k2048"));
}

TEST_F(LiveBenchTest, FilesThatCantBeAreTheAuthorsFault) {
  for (const std::vector<std::string>& paths :
       std::vector<std::vector<std::string>>{{"../outside.h"},
                                             {"/absolute.h"},
                                             {"solution.cpp/below.h"},
                                             {"twice.h", "twice.h"},
                                             {std::string(300, 'x')}}) {
    Solution solution = house_rmsnorm("rmsnorm-plain");
    for (const std::string& path : paths) solution.sources.push_back({path, "// nothing\n"});
    const BuiltCandidate built = must(bench().build(solution));
    EXPECT_FALSE(built.compiles) << paths.front();
    EXPECT_THAT(built.log, HasSubstr(paths.front()));
  }
}

TEST_F(LiveBenchTest, TheSameProgramHasTheSameKey) {
  const std::string plain = build(house_rmsnorm("rmsnorm-plain")).code_key;
  EXPECT_EQ(build(edited("commented", "namespace {", "// as before\nnamespace {")).code_key, plain);
  EXPECT_NE(build(wrong_).code_key, plain);
}

TEST_F(LiveBenchTest, RefusesWhatNothingCanBeMeasuredWith) {
  const auto refusal = [&](auto change) {
    LiveBenchOptions changed = options();
    change(changed);
    const auto bench = make_live_bench(std::move(changed));
    return bench ? std::string() : bench.error().to_string();
  };
  EXPECT_THAT(refusal([](LiveBenchOptions& bad) { bad.problems.clear(); }),
              HasSubstr("no workloads"));
  EXPECT_THAT(refusal([](LiveBenchOptions& bad) { bad.devices.clear(); }), HasSubstr("no device"));
  EXPECT_THAT(refusal([](LiveBenchOptions& bad) {
                bad.baseline = edited("broken", "float sum = 0.0f;", "float sum = zero;");
              }),
              HasSubstr("the baseline doesn't compile"));
  EXPECT_THAT(refusal([](LiveBenchOptions& bad) { bad.screening.workload = "rows-8"; }),
              HasSubstr("'rows-8'"));
  EXPECT_EQ(refusal([](LiveBenchOptions& good) { good.screening.workload = "rows-40"; }), "");
}

PosedPtr posed_rows(int64_t rows, double weight) {
  return must(pose(rows_problem(rows, weight), {.value_sets = 1, .seed = 1}));
}

TEST(ScreeningProblem, IsTheMiddleOfTheTrafficAmongTheQuick) {
  const DeviceInfo device{.bandwidth_gbps = 100.0, .fp32_tflops = 1.0};
  const auto chosen = [&](std::vector<PosedPtr> posed) {
    return must(choose_screening_problem(posed, device));
  };
  EXPECT_EQ(chosen({posed_rows(9, 1.0)}), 0u);
  // By size, not by place; one that is rare doesn't count for much.
  EXPECT_EQ(chosen({posed_rows(900, 1.0), posed_rows(1, 1.0), posed_rows(30, 1.0)}), 2u);
  EXPECT_EQ(chosen({posed_rows(1, 1.0), posed_rows(30, 1.0), posed_rows(900, 9.0)}), 2u);
  // The middle of all would be the large one, which takes long.
  EXPECT_EQ(chosen({posed_rows(10, 1.0), posed_rows(20, 2.0), posed_rows(4'000'000, 90.0)}), 1u);
  // Traffic that nobody has seen.
  EXPECT_EQ(chosen({posed_rows(1, 0.0), posed_rows(2, 0.0), posed_rows(3, 0.0)}), 1u);
  EXPECT_FALSE(choose_screening_problem({}, device));
}

Verdict judged(double weight, double speedup) {
  Verdict verdict;
  verdict.id = static_cast<int64_t>(weight);
  verdict.workload_weight = weight;
  verdict.roofline = {.fraction = weight / 10.0, .bound = weight > 1.0 ? "memory" : "compute"};
  verdict.kernels = {{.name = "small", .share = 0.1, .registers = 200, .shared_bytes = 1},
                     {.name = "main", .share = 0.9, .registers = 64, .shared_bytes = 4096}};
  verdict.samples.resize(1);
  verdict.paired_samples.resize(1);
  if (speedup == 0.0) return verdict;
  verdict.paired = PairedResult::kFaster;
  verdict.speedup = speedup;
  verdict.speedup_low = speedup * 0.9;
  verdict.speedup_high = speedup * 1.1;
  return verdict;
}

TEST(JudgementOf, TakesTheWeightedMeanOfAllPairs) {
  const Judgement judgement =
      judgement_of({judged(1.0, 2.0), judged(3.0, 1.0)}, 2, {.registers = 1, .code_bytes = 77});
  EXPECT_TRUE(judgement.passed);
  EXPECT_NEAR(judgement.speedup, std::pow(2.0, 0.25), 1e-9);
  EXPECT_LT(judgement.speedup_low, judgement.speedup);
  EXPECT_EQ(judgement.verdict_ids, (std::vector<int64_t>{1, 3}));
  EXPECT_TRUE(judgement.verdicts[0].samples.empty());
  EXPECT_TRUE(judgement.verdicts[1].paired_samples.empty());
  EXPECT_EQ(judgement.behaviour.registers, 64);
  EXPECT_EQ(judgement.behaviour.shared_bytes, 4096);
  EXPECT_EQ(judgement.behaviour.code_bytes, 77);
  EXPECT_EQ(judgement.behaviour.bound, "memory");
  EXPECT_NEAR(judgement.behaviour.roofline_fraction, (0.1 + 3 * 0.3) / 4, 1e-9);
}

TEST(JudgementOf, HasNoSpeedupWhereAnythingIsMissing) {
  EXPECT_EQ(judgement_of({judged(1.0, 2.0), judged(3.0, 0.0)}, 2, {}).speedup, 0.0);
  EXPECT_TRUE(judgement_of({judged(1.0, 2.0), judged(3.0, 0.0)}, 2, {}).passed);
  const Judgement partial = judgement_of({judged(1.0, 2.0)}, 2, {});
  EXPECT_FALSE(partial.passed);
  EXPECT_EQ(partial.speedup, 0.0);
  Verdict failed = judged(1.0, 0.0);
  failed.status = VerdictStatus::kTimeout;
  EXPECT_FALSE(judgement_of({failed, judged(3.0, 2.0)}, 2, {}).passed);
  EXPECT_FALSE(judgement_of({}, 1, {}).passed);
}

}  // namespace
}  // namespace fib::agents
