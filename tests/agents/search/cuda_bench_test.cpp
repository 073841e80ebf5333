// The bench on a card: the stages, broken candidates, and what a screening takes. Skips without
// one.

#include <chrono>

#include "agents/search/live_bench.h"
#include "tests/runners/cuda_fixture.h"
#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

class CudaBenchTest : public testing::Test {
 protected:
  void SetUp() override {
    const Support support = runner_->available();
    if (!support.ok) GTEST_SKIP() << support.reason << " (" << support.remedy << ")";
    auto store = Store::open(folder_.path() / "fib.db");
    ASSERT_TRUE(store) << store.error().to_string();
    store_ = *std::move(store);
    LiveBenchOptions options{
        .runner = *runner_,
        .devices = {runner_->devices().front()},
        .problems = {rmsnorm_problem(catalog_, 33), rmsnorm_problem(catalog_, 512)},
        .baseline = house("rmsnorm-plain"),
        .evaluation = {.measure = {.call_timeout_s = 2.0, .seed = 4711}, .threads = 8},
        .expected = expected_,
        .store = *store_,
        .builders = 2};
    options.problems[1].workload.uuid = "large";
    options.screening.call_timeout_s = 1.0;
    auto bench = make_live_bench(std::move(options));
    ASSERT_TRUE(bench) << bench.error().to_string();
    bench_ = *std::move(bench);
  }

  static Solution house(const std::string& name) {
    return *read_solution_folder(kSource / "leaderboard/solutions/cuda/rmsnorm" / name);
  }
  BuiltCandidate build(const Solution& solution) {
    auto built = bench_->build(solution);
    EXPECT_TRUE(built) << built.error().to_string();
    if (!built) return {};
    EXPECT_TRUE(built->compiles) << built->log;
    return *std::move(built);
  }
  Screening screen(const Solution& solution) {
    const BuiltCandidate built = build(solution);
    if (!built.compiles) return {};
    auto screening = bench_->screen(0, solution, built);
    EXPECT_TRUE(screening) << screening.error().to_string();
    return screening ? *std::move(screening) : Screening{};
  }

  ScratchFolder folder_;
  Catalog catalog_ = builtin_catalog();
  std::unique_ptr<Runner> runner_ = make_cuda_runner(cuda_options(kTestCache));
  ExpectedCache expected_{{}, 0, size_t{1} << 30};
  std::unique_ptr<Store> store_;
  std::unique_ptr<Bench> bench_;
};

TEST_F(CudaBenchTest, ARightCandidateGoesAllTheWay) {
  const Solution rows = house("rmsnorm-rows");
  const BuiltCandidate built = build(rows);
  EXPECT_GT(built.behaviour.registers, 0);
  EXPECT_FALSE(built.code_key.empty());
  const auto screening = bench_->screen(0, rows, built);
  ASSERT_TRUE(screening) << screening.error().to_string();
  EXPECT_EQ(screening->verdict.status, VerdictStatus::kPassed) << screening->verdict.message;
  EXPECT_GT(screening->speedup, 0.0);
  // Against somebody whom everybody beats.
  const auto race = bench_->race(
      0, rows, built, {.rival = {.speedup_low = 1e-6, .speedups = {}}, .screening = *screening});
  ASSERT_TRUE(race) << race.error().to_string();
  EXPECT_FALSE(race->is_beaten);
  EXPECT_EQ(race->workloads, 2);
  EXPECT_EQ(race->verdicts.back().status, VerdictStatus::kPassed) << race->verdicts.back().message;
  const auto judgement = bench_->judge(0, rows, built);
  ASSERT_TRUE(judgement) << judgement.error().to_string();
  EXPECT_TRUE(judgement->passed);
  EXPECT_GT(judgement->speedup, 0.0);
  EXPECT_GT(judgement->behaviour.roofline_fraction, 0.0);
  const auto confirmed = bench_->confirm(0, rows, built);
  ASSERT_TRUE(confirmed) << confirmed.error().to_string();
  EXPECT_TRUE(confirmed->passed);
  printf(
      "screened %.3fx in %.3f s, raced %.3fx [%.3f, %.3f] in %.3f s, judged %.3fx [%.3f, %.3f] in "
      "%.2f s, confirmed %.3fx in %.2f s\n",
      screening->speedup, screening->device_s, race->speedup, race->speedup_low, race->speedup_high,
      race->device_s, judgement->speedup, judgement->speedup_low, judgement->speedup_high,
      judgement->device_s, confirmed->speedup, confirmed->device_s);
}

TEST_F(CudaBenchTest, BrokenCandidatesAreVerdictsAndTheNextOneIsWell) {
  EXPECT_EQ(screen(candidate({"WRONG_SCALE"})).verdict.status, VerdictStatus::kIncorrectNumerical);
  EXPECT_EQ(screen(candidate({"BREAKS_ADDRESS"})).verdict.status, VerdictStatus::kRuntimeError);
  EXPECT_EQ(screen(candidate({"BREAKS_HANG"})).verdict.status, VerdictStatus::kTimeout);
  EXPECT_EQ(screen(candidate({"HUGE_WORKSPACE"})).verdict.status, VerdictStatus::kRuntimeError);
  const Screening well = screen(candidate({}));
  EXPECT_EQ(well.verdict.status, VerdictStatus::kPassed) << well.verdict.message;
  EXPECT_GT(well.speedup, 0.0);
}

// Three thousand an hour are 1.2 s each, builds beside it.
TEST_F(CudaBenchTest, ManyScreeningsShareASession) {
  const Solution rows = house("rmsnorm-rows");
  const BuiltCandidate built = build(rows);
  constexpr int kScreenings = 20;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kScreenings; ++i) {
    const auto screening = bench_->screen(0, rows, built);
    ASSERT_TRUE(screening) << screening.error().to_string();
    EXPECT_EQ(screening->verdict.status, VerdictStatus::kPassed) << screening->verdict.message;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  printf("%d screenings in %.2f s, the session's start included: %.0f an hour\n", kScreenings,
         seconds, 3600.0 * kScreenings / seconds);
}

}  // namespace
}  // namespace fib::agents
