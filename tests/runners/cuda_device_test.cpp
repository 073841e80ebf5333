// On a card: the runner end to end. Skips without one.

#include <gmock/gmock.h>

#include <chrono>

#include "harness/statistics.h"
#include "runners/cuda/device_context.h"
#include "runners/cuda/skeleton.h"
#include "tests/runners/cuda_device_fixture.h"
#include "tests/scratch_folder.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

using testing::HasSubstr;

TEST_F(CudaDeviceTest, HonestKernelIsRightAndTimedInEveryMode) {
  MeasureConfig config = quick();
  config.modes = {TimingMode::kCold, TimingMode::kWarm, TimingMode::kGraph};
  config.min_samples = config.max_samples = 20;
  const ContenderOutcome outcome = measure_candidate({}, config);
  expect_right(outcome);
  ASSERT_EQ(outcome.timings.size(), 3u);
  for (const ModeTiming& timing : outcome.timings) {
    EXPECT_EQ(timing.samples.size(), 20u);
    std::vector<double> times;
    for (const Sample& sample : timing.samples) times.push_back(sample.time_ns);
    const MedianInterval interval = median_interval(times);
    EXPECT_GT(interval.median, 500.0);
    EXPECT_LT(interval.median, 100e3);
    RecordProperty(std::string(timing_mode_name(timing.mode)), std::to_string(interval.median));
    printf("%s by %s: %.0f ns [%.0f, %.0f], %u MHz, throttle %x\n",
           std::string(timing_mode_name(timing.mode)).c_str(),
           std::string(clock_name(timing.clock)).c_str(), interval.median, interval.low,
           interval.high, timing.samples[0].sm_clock_mhz, timing.samples[0].throttle_reasons);
  }
  ASSERT_EQ(outcome.kernels.size(), 1u) << outcome.log;
  EXPECT_THAT(outcome.kernels[0].name, HasSubstr("rms("));
  EXPECT_EQ(outcome.kernels[0].grid[0], 33u);
  EXPECT_EQ(outcome.kernels[0].block[0], 256u);
  EXPECT_DOUBLE_EQ(outcome.kernels[0].share, 1.0);
}

TEST_F(CudaDeviceTest, WrongNumbersAreMeasured) {
  const ContenderOutcome outcome = measure_candidate({"WRONG_SCALE"});
  ASSERT_FALSE(outcome.fault) << outcome.fault->message;
  EXPECT_GT(outcome.checks[0].max_relative_error, 0.03);
  EXPECT_GT(outcome.worst_honest_ratio[0], 5.0);
}

TEST_F(CudaDeviceTest, MissingRowIsMeasuredAsWrong) {
  const ContenderOutcome outcome = measure_candidate({"WRONG_LAST_ROW"});
  ASSERT_TRUE(outcome.fault || !outcome.checks.empty());
  const bool is_caught = outcome.fault ? outcome.fault->kind == FaultKind::kUnstableOutput
                                       : outcome.checks[0].first_bad_index >= 32 * 4096;
  EXPECT_TRUE(is_caught);
}

TEST_F(CudaDeviceTest, NothingIsRememberedBetweenCalls) {
  // Right in the first call only. Each call gets a module of its own, so it is right in all.
  expect_right(measure_candidate({"WRONG_REMEMBERS"}));
}

TEST_F(CudaDeviceTest, VaryingOutputsAreAllChecked) {
  const ContenderOutcome outcome = measure_candidate({"VARIES"});
  expect_right(outcome);
  ASSERT_FALSE(outcome.checks.empty());
  EXPECT_GT(outcome.checks[0].count, 3 * 33 * 4096);
}

TEST_F(CudaDeviceTest, WritingBeyondAnOutputIsNamed) {
  expect_fault(measure_candidate({"WRITES_BEYOND"}), FaultKind::kOutOfBounds,
               "after output 'output'");
}

TEST_F(CudaDeviceTest, WritingAnInputIsNamed) {
  expect_fault(measure_candidate({"WRITES_INPUT"}), FaultKind::kInputModified, "input");
}

TEST_F(CudaDeviceTest, IllegalAddressNamesTheKernelAndLeavesTheSessionWell) {
  expect_fault(measure_candidate({"BREAKS_ADDRESS"}), FaultKind::kDeviceFault,
               "launch 2, kernel 'breaks'");
  expect_right(measure_candidate({}));
}

TEST_F(CudaDeviceTest, TrapNamesTheKernel) {
  expect_fault(measure_candidate({"BREAKS_TRAP"}), FaultKind::kDeviceFault, "kernel 'breaks'");
}

TEST_F(CudaDeviceTest, AssertNamesTheKernelAndKeepsItsWords) {
  const ContenderOutcome outcome = measure_candidate({"BREAKS_ASSERT"});
  expect_fault(outcome, FaultKind::kDeviceFault, "kernel 'breaks'");
  EXPECT_THAT(outcome.log, HasSubstr("seven is out of luck"));
  expect_right(measure_candidate({}));
}

TEST_F(CudaDeviceTest, FaultThatArrivesWhileLaunchingIsTheCandidates) {
  expect_fault(measure_candidate({"BREAKS_ADDRESS", "BREAKS_IN_THE_MIDDLE"}),
               FaultKind::kDeviceFault, "ILLEGAL_ADDRESS");
  expect_right(measure_candidate({}));
}

// All but a few GiB of the card, held by somebody else.
class OccupiedCard {
 public:
  OccupiedCard() {
    auto driver = CudaDriver::open();
    if (!driver) return;
    driver_ = *driver;
    auto context = DeviceContext::open(driver_, 0);
    if (!context) return;
    context_ = *std::move(context);
    memory_.emplace(*driver_);
    const size_t left = size_t{16} << 30;
    const size_t free = context_->free_bytes();
    is_occupied_ = free > left && memory_->reserve(free - left).has_value();
  }
  bool is_occupied() const { return is_occupied_; }

 private:
  CudaDriverPtr driver_;
  std::unique_ptr<DeviceContext> context_;
  std::optional<DeviceMemory> memory_;
  bool is_occupied_ = false;
};

TEST_F(CudaDeviceTest, MemoryThatRunsOutIsTheFaultOfWhoAskedForMost) {
  const Problem problem = rmsnorm_problem(shared().catalog, 7);
  const auto modest = build(candidate({}), *problem.signature);
  const auto hungry = build(candidate({"LARGE_WORKSPACE"}), *problem.signature);
  ASSERT_TRUE(modest && hungry);
  const OccupiedCard others;
  ASSERT_TRUE(others.is_occupied());
  const auto outcomes = measure({modest, hungry}, problem, quick());
  ASSERT_EQ(outcomes.size(), 2u);
  expect_right(outcomes[0]);
  expect_fault(outcomes[1], FaultKind::kOutOfMemory, "34359738368 bytes of workspace");
  EXPECT_THAT(outcomes[1].fault->message, HasSubstr("GiB free"));
}

TEST_F(CudaDeviceTest, EndlessKernelIsNamedAndKilled) {
  expect_fault(measure_candidate({"BREAKS_HANG"}), FaultKind::kTimeout, "kernel 'breaks'");
  expect_right(measure_candidate({}));
}

TEST_F(CudaDeviceTest, HugeWorkspaceIsRefusedBeforeTheDevice) {
  expect_fault(measure_candidate({"HUGE_WORKSPACE"}), FaultKind::kPlanTooMuch, "workspace");
}

TEST_F(CudaDeviceTest, FaultOfOneContenderSparesTheOther) {
  const Problem problem = rmsnorm_problem(shared().catalog, 7);
  const auto good = build(candidate({}), *problem.signature);
  const auto bad = build(candidate({"BREAKS_ADDRESS"}), *problem.signature);
  ASSERT_TRUE(good && bad);
  const auto outcomes = measure({bad, good}, problem, quick());
  ASSERT_EQ(outcomes.size(), 2u);
  expect_fault(outcomes[0], FaultKind::kDeviceFault, "breaks");
  expect_right(outcomes[1]);
  EXPECT_EQ(outcomes[1].timings.at(0).samples.size(), 10u);
}

TEST_F(CudaDeviceTest, EveryKindOfLaunchWorksInEveryMode) {
  MeasureConfig config = quick();
  config.modes = {TimingMode::kCold, TimingMode::kWarm, TimingMode::kGraph};
  const std::vector<std::vector<std::string>> features = {
      {"FEATURE_CLUSTER"},     {"FEATURE_SHARED", "SHARED_BYTES=131072"},
      {"FEATURE_COOPERATIVE"}, {"FEATURE_PROGRAMMATIC"},
      {"FEATURE_TMA"},         {"FEATURE_PREPARE"}};
  for (const auto& feature : features) {
    SCOPED_TRACE(feature[0]);
    const ContenderOutcome outcome = measure_candidate(feature, config);
    expect_right(outcome);
    if (feature[0] == "FEATURE_PREPARE") {
      EXPECT_EQ(outcome.prepared_bytes, 8192u);
      EXPECT_GT(outcome.prepare_ns, 0.0);
    }
  }
}

TEST_F(CudaDeviceTest, AllBuiltinWorkloadsOfRmsnormTakeLessThanTwoSeconds) {
  const SignaturePtr signature = *shared().catalog.find("rmsnorm_h4096");
  const auto workloads = builtin_workloads(kSource / "workloads/captured", *signature);
  ASSERT_TRUE(workloads) << workloads.error().to_string();
  auto solution = read_solution(kSource / "leaderboard/solutions/cuda/rmsnorm/rmsnorm-rows");
  ASSERT_TRUE(solution) << solution.error().to_string();
  const ArtifactPtr artifact = build(*solution, *signature);
  ASSERT_TRUE(artifact);
  MeasureConfig config;
  config.seed = 99;
  double total_s = 0.0, measured_s = 0.0;
  for (const Workload& workload : *workloads) {
    const Problem problem = *fib::bind(signature, workload);
    // The references beforehand: they are cached in practice, and not the runner's time.
    auto plan = plan_inputs(problem);
    std::vector<InputSet> sets;
    for (int i = 0; i < 3; ++i) sets.push_back(with_seed(*plan, 100 + i));
    for (const InputSet& set : sets) ASSERT_TRUE(shared().expected.get(problem, set, 16));
    const auto start = std::chrono::steady_clock::now();
    const auto outcomes = measure({artifact}, problem, config);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    total_s += seconds;
    ASSERT_EQ(outcomes.size(), 1u);
    expect_right(outcomes[0]);
    if (outcomes[0].fault) return;
    printf("%-40s %6.1f ms", problem.label().c_str(), seconds * 1e3);
    for (const ModeTiming& timing : outcomes[0].timings) {
      std::vector<double> times;
      for (const Sample& sample : timing.samples) times.push_back(sample.time_ns);
      const MedianInterval interval = median_interval(times);
      printf("  %s %9.0f ns +-%4.1f%% (%zu)", std::string(timing_mode_name(timing.mode)).c_str(),
             interval.median, 100 * interval.relative_half_width(), times.size());
      for (double t : times) measured_s += t / 1e9;
    }
    printf("\n");
  }
  printf("all: %.2f s, of it %.3f s in timed calls\n", total_s, measured_s);
  EXPECT_LT(total_s, 2.0);
}

TEST_F(CudaDeviceTest, SkeletonsAreRight) {
  for (const char* name : {"rmsnorm_h256", "fused_add_rmsnorm_h256", "gemm_n256_k256",
                           "gqa_paged_decode_h4_kv2_d64_ps1", "gqa_paged_decode_h4_kv2_d64_ps16",
                           "moe_int4_g32_topk4_e32_h256_i128"}) {
    SCOPED_TRACE(name);
    const auto signature = shared().catalog.find(name);
    ASSERT_TRUE(signature) << signature.error().to_string();
    const ScratchFolder folder;
    for (const SourceFile& file : cuda_skeleton(**signature)) {
      ASSERT_TRUE(write_file_atomically(folder / file.path, file.content));
    }
    const auto solution = read_solution(folder.path());
    ASSERT_TRUE(solution) << solution.error().to_string();
    const ArtifactPtr artifact = build(*solution, **signature);
    const auto workloads = builtin_workloads(kSource / "workloads/captured", **signature);
    ASSERT_TRUE(artifact && workloads);
    const auto outcomes = measure({artifact}, *fib::bind(*signature, workloads->front()), quick());
    ASSERT_EQ(outcomes.size(), 1u);
    ASSERT_FALSE(outcomes[0].fault) << outcomes[0].fault->message;
    for (size_t output = 0; output < outcomes[0].checks.size(); ++output) {
      EXPECT_EQ(outcomes[0].checks[output].elements_over_bound, 0);
      EXPECT_EQ(outcomes[0].checks[output].nonfinite_mismatches, 0);
      EXPECT_LT(outcomes[0].worst_honest_ratio[output], 2.0);
    }
  }
}

TEST_F(CudaDeviceTest, DoctorSeesTheCard) {
  const CudaStatus status = probe_cuda(cuda_options(kTestCache));
  for (const CudaFinding& finding : status.findings) {
    printf("%s %s %s %s %s\n", finding.name.c_str(), finding.ok ? "ok" : "missing",
           finding.path.c_str(), finding.version.c_str(), finding.reason.c_str());
  }
  ASSERT_FALSE(status.devices.empty());
  const CudaDeviceStatus& device = status.devices[0];
  printf("%s %s %u/%u MHz %u C %.0f W throttle: %s\n", device.name.c_str(),
         device.architecture.c_str(), device.sm_clock_mhz, device.max_sm_clock_mhz,
         device.temperature_c, device.power_w, device.throttle_text.c_str());
}

}  // namespace
}  // namespace fib
