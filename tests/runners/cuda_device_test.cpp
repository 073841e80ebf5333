// On a card: the runner end to end. Skips without one.

#include <gmock/gmock.h>

#include <chrono>

#include "harness/statistics.h"
#include "runners/cuda/device_context.h"
#include "runners/cuda/skeleton.h"
#include "tests/runners/cuda_fixture.h"
#include "tests/scratch_folder.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

using testing::HasSubstr;

class CudaDeviceTest : public testing::Test {
 protected:
  // One runner and session for all tests: what breaks the device must not outlive its test.
  struct Shared {
    Catalog catalog = builtin_catalog();
    std::unique_ptr<Runner> runner = make_cuda_runner(cuda_options(kTestCache));
    std::unique_ptr<Session> session;
    ExpectedCache expected{{}, 0, size_t{1} << 30};
  };
  static Shared& shared() {
    static Shared* shared = new Shared;
    return *shared;
  }

  void SetUp() override {
    const Support support = shared().runner->available();
    if (!support.ok) GTEST_SKIP() << support.reason << " (" << support.remedy << ")";
    if (!shared().session) {
      auto session = shared().runner->open_session(0);
      ASSERT_TRUE(session) << session.error().to_string();
      shared().session = *std::move(session);
    }
  }

  ArtifactPtr build(const Solution& solution, const Signature& signature) {
    auto built = shared().runner->build({.solution = solution,
                                         .signature = signature,
                                         .architecture = shared().session->device().architecture});
    if (!built) {
      ADD_FAILURE() << built.error().to_string();
      return nullptr;
    }
    EXPECT_TRUE(built->artifact) << built->failure_log;
    return built->artifact;
  }

  static MeasureConfig quick() {
    MeasureConfig config;
    config.modes = {TimingMode::kCold};
    config.min_samples = 10;
    config.max_samples = 10;
    config.call_timeout_s = 2.0;
    config.seed = 4711;
    return config;
  }

  std::vector<ContenderOutcome> measure(const std::vector<ArtifactPtr>& contenders,
                                        const Problem& problem, const MeasureConfig& config) {
    auto plan = plan_inputs(problem);
    if (!plan) {
      ADD_FAILURE() << plan.error().to_string();
      return {};
    }
    std::vector<InputSet> sets;
    for (int i = 0; i < config.value_sets; ++i) sets.push_back(with_seed(*plan, 100 + i));
    const MeasureRequest request{
        .contenders = contenders,
        .problem = plan->problem,
        .value_sets = sets,
        .expected = [&](size_t set) { return shared().expected.get(plan->problem, sets[set], 8); },
        .config = config};
    auto outcomes = shared().session->measure(request);
    if (!outcomes) {
      ADD_FAILURE() << outcomes.error().to_string();
      return {};
    }
    return *std::move(outcomes);
  }

  ContenderOutcome measure_candidate(const std::vector<std::string>& defines,
                                     const MeasureConfig& config = quick(), int64_t rows = 33) {
    const Problem problem = rmsnorm_problem(shared().catalog, rows);
    const ArtifactPtr artifact = build(candidate(defines), *problem.signature);
    if (!artifact) return {};
    auto outcomes = measure({artifact}, problem, config);
    return outcomes.empty() ? ContenderOutcome{} : outcomes[0];
  }

  static void expect_right(const ContenderOutcome& outcome) {
    ASSERT_FALSE(outcome.fault) << fault_kind_name(outcome.fault->kind) << ": "
                                << outcome.fault->message << outcome.log;
    ASSERT_EQ(outcome.checks.size(), 1u);
    EXPECT_EQ(outcome.checks[0].nonfinite_mismatches, 0);
    EXPECT_EQ(outcome.checks[0].elements_over_bound, 0);
    EXPECT_LT(outcome.worst_honest_ratio[0], 2.0);
  }
  // Measures the artifact on one workload, the first built-in one without axes, and prints where
  // its time goes.
  void expect_house_solution(const ArtifactPtr& artifact, const SignaturePtr& signature,
                             std::vector<std::pair<std::string, int64_t>> axes) {
    Workload workload;
    if (!axes.empty()) {
      workload.uuid = axes[0].first + std::to_string(axes[0].second);
      workload.axes = std::move(axes);
    } else {
      const auto workloads = builtin_workloads(kSource / "workloads/captured", *signature);
      ASSERT_TRUE(workloads) << workloads.error().to_string();
      workload = workloads->front();
    }
    const auto problem = fib::bind(signature, workload);
    ASSERT_TRUE(problem) << problem.error().to_string();
    SCOPED_TRACE(problem->label());
    MeasureConfig config = quick();
    config.value_sets = 1;
    config.call_timeout_s = 20.0;
    config.modes = {TimingMode::kCold, TimingMode::kGraph};
    const auto start = std::chrono::steady_clock::now();
    const auto outcomes = measure({artifact}, *problem, config);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ASSERT_EQ(outcomes.size(), 1u);
    const ContenderOutcome& outcome = outcomes[0];
    ASSERT_FALSE(outcome.fault) << fault_kind_name(outcome.fault->kind) << ": "
                                << outcome.fault->message;
    printf("%s: %.2f s with reference;", problem->label().c_str(), seconds);
    for (const ModeTiming& timing : outcome.timings) {
      std::vector<double> times;
      for (const Sample& sample : timing.samples) times.push_back(sample.time_ns);
      printf(" %s %.0f ns", std::string(timing_mode_name(timing.mode)).c_str(),
             median_interval(times).median);
    }
    for (size_t output = 0; output < outcome.checks.size(); ++output) {
      printf("; ratio %.2f", outcome.worst_honest_ratio[output]);
      EXPECT_EQ(outcome.checks[output].elements_over_bound, 0);
      EXPECT_EQ(outcome.checks[output].nonfinite_mismatches, 0);
      EXPECT_LE(outcome.worst_honest_ratio[output],
                signature->fib.tolerances.at(signature->outputs[output].name).honest_factor);
      EXPECT_GT(outcome.draws[output].p_value(), 1e-6);  // 1 where nothing is drawn
    }
    printf("\n");
    for (const KernelShare& kernel : outcome.kernels) {
      printf("   %4.1f%% %s\n", 100 * kernel.share, kernel.name.substr(0, 60).c_str());
    }
  }

  static void expect_fault(const ContenderOutcome& outcome, FaultKind kind,
                           const std::string& words) {
    ASSERT_TRUE(outcome.fault);
    EXPECT_EQ(outcome.fault->kind, kind) << fault_kind_name(outcome.fault->kind);
    EXPECT_THAT(outcome.fault->message, HasSubstr(words));
  }
};

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

// Each house solution with few and many rows, ragged ones among them.
TEST_F(CudaDeviceTest, HouseSolutionsAreRight) {
  struct Case {
    const char* folder;
    const char* signature;
    const char* axis;  // nullptr: the first built-in workload
    std::vector<int64_t> sizes = {0};
    std::vector<std::pair<std::string, int64_t>> other_axes = {};
  };
  const Case cases[] = {
      {"argmax/argmax-clusters", "argmax_v4096", "num_tokens", {1, 300}},
      {"argmax/argmax-clusters", "argmax_v151936", "num_tokens", {1, 5, 17, 64}},
      {"embedding/embedding-rows", "embedding_v4096_h256", "num_tokens", {1, 17, 300}},
      {"embedding/embedding-rows", "embedding_v151936_h2048", "num_tokens", {5, 300}},
      {"fused_add_rmsnorm/fused_add_rmsnorm-rows", "fused_add_rmsnorm_h7168", nullptr},
      {"fused_add_rmsnorm_residual/fused-add-rmsnorm-residual-rows",
       "fused_add_rmsnorm_residual_h256",
       "batch_size",
       {1, 17, 1000}},
      {"fused_add_rmsnorm_residual/fused-add-rmsnorm-residual-rows",
       "fused_add_rmsnorm_residual_h2048",
       "batch_size",
       {1, 5, 64, 1000}},
      {"gemm/gemm-mma", "gemm_n4096_k4096", nullptr},
      {"gemm_bf16/gemm-bf16-hopper", "gemm_bf16_n256_k256", "M", {1, 5, 17, 64, 65, 300}},
      {"gemm_bf16/gemm-bf16-hopper",
       "gemm_bf16_n2048_k4096",
       "M",
       {1, 5, 8, 16, 17, 32, 64, 65, 300}},
      {"gemm_bf16/gemm-bf16-hopper",
       "gemm_bf16_n5120_k2048",
       "M",
       {1, 5, 8, 9, 16, 17, 32, 33, 64, 65, 300, 1500}},
      {"gemm_bf16/gemm-bf16-hopper", "gemm_bf16_n70_k264", "M", {1, 5, 17, 65}},
      {"gemm_bf16/gemm-bf16-hopper", "gemm_bf16_n70_k1040", "M", {1, 12, 40, 65}},
      {"gemm_bf16_f32/gemm-bf16-f32-hopper",
       "gemm_bf16_f32_n32_k256",
       "M",
       {1, 5, 17, 64, 65, 300}},
      {"gemm_bf16_f32/gemm-bf16-f32-hopper",
       "gemm_bf16_f32_n128_k2048",
       "M",
       {1, 5, 17, 64, 65, 300}},
      {"gemm_bf16_f32/gemm-bf16-f32-hopper", "gemm_bf16_f32_n4096_k256", "M", {1, 5, 17, 64, 300}},
      {"gemm_bf16_f32/gemm-bf16-f32-hopper", "gemm_bf16_f32_n151936_k2048", "M", {1, 5, 17, 64}},
      {"gqa_paged_decode/gqa-decode-split", "gqa_paged_decode_h32_kv8_d128_ps1", nullptr},
      {"gqa_paged_decode/gqa-decode-split",
       "gqa_paged_decode_h4_kv2_d64_ps1",
       "batch_size",
       {1, 16},
       {{"num_kv_indices", 3200}, {"num_pages", 3616}}},
      {"gqa_paged_decode_last_page/gqa-decode-split-last-page",
       "gqa_paged_decode_h32_kv4_d128_ps16",
       "batch_size",
       {1, 5, 64},
       {{"num_kv_indices", 700}, {"num_pages", 800}}},
      {"gqa_paged_prefill_causal/gqa-prefill-mma",
       "gqa_paged_prefill_causal_h32_kv8_d128_ps1",
       "total_q",
       {1, 64, 700},
       {{"len_indptr", 5}, {"num_kv_indices", 2000}, {"num_pages", 2100}}},
      {"gqa_paged_prefill_causal_last_page/gqa-prefill-mma-last-page",
       "gqa_paged_prefill_causal_h4_kv2_d64_ps16",
       "total_q",
       {1, 17, 300},
       {{"batch_size", 5}, {"num_kv_indices", 60}, {"num_pages", 80}}},
      {"gqa_paged_prefill_causal_last_page/gqa-prefill-mma-last-page",
       "gqa_paged_prefill_causal_h32_kv4_d128_ps16",
       "total_q",
       {1, 17, 300, 1500},
       {{"batch_size", 3}, {"num_kv_indices", 200}, {"num_pages", 220}}},
      {"gqa_paged_prefill_causal_last_page/gqa-prefill-mma-last-page",
       "gqa_paged_prefill_causal_h32_kv8_d128_ps64",
       "total_q",
       {500},
       {{"batch_size", 2}, {"num_kv_indices", 20}, {"num_pages", 24}}},
      {"gqa_ragged_prefill_causal/gqa-prefill-mma-ragged",
       "gqa_ragged_prefill_causal_h4_kv2_d64",
       "total_q",
       {40},  // more queries than keys: some see none
       {{"len_indptr", 4}, {"total_kv", 30}}},
      {"gqa_ragged_prefill_causal/gqa-prefill-mma-ragged",
       "gqa_ragged_prefill_causal_h32_kv8_d128",
       "total_q",
       {5, 129, 1400},
       {{"len_indptr", 4}, {"total_kv", 1500}}},
      {"gqa_ragged_prefill_causal/gqa-prefill-mma-ragged",
       "gqa_ragged_prefill_causal_h5_kv1_d128",
       "total_q",
       {77},
       {{"len_indptr", 4}, {"total_kv", 300}}},
      {"gqa_ragged_prefill_causal/gqa-prefill-mma-ragged",
       "gqa_ragged_prefill_causal_h8_kv1_d256",
       "total_q",
       {200},
       {{"len_indptr", 4}, {"total_kv", 300}}},
      {"moe_bf16/moe-bf16-grouped",
       "moe_bf16_topk4_e32_h256_i128",
       "num_tokens",
       {1, 5, 16, 17, 64, 65, 300, 1000}},
      {"moe_bf16/moe-bf16-grouped",
       "moe_bf16_topk8_e128_h2048_i768",
       "num_tokens",
       {1, 5, 8, 17, 64, 300}},
      {"moe_int4_g32/moe-int4-grouped", "moe_int4_g32_topk8_e384_h7168_i2048", nullptr},
      {"moe_int4_g32/moe-int4-grouped",
       "moe_int4_g32_topk8_e128_h2048_i768",
       "num_tokens",
       {1, 5, 8, 17}},
      {"moe_routing_softmax/moe-routing-softmax-warps",
       "moe_routing_softmax_topk4_e32",
       "num_tokens",
       {1, 5, 300}},
      {"moe_routing_softmax/moe-routing-softmax-warps",
       "moe_routing_softmax_topk8_e128",
       "num_tokens",
       {1, 5, 64, 300}},
      {"moe_routing_softmax/moe-routing-softmax-warps",
       "moe_routing_softmax_topk16_e500",
       "num_tokens",
       {3, 300}},
      {"qk_norm_rope_append/qk-norm-rope-append-heads",
       "qk_norm_rope_append_h4_kv2_d64_ps16",
       "num_tokens",
       {1, 7, 300},
       {{"max_positions", 4096}, {"num_pages", 25}}},
      {"qk_norm_rope_append/qk-norm-rope-append-heads",
       "qk_norm_rope_append_h32_kv4_d128_ps16",
       "num_tokens",
       {1, 5, 64, 1000},
       {{"max_positions", 40960}, {"num_pages", 80}}},
      {"qk_norm_rope_append/qk-norm-rope-append-heads",  // lanes without a part of a head
       "qk_norm_rope_append_h3_kv1_d96_ps4",
       "num_tokens",
       {1, 37},
       {{"max_positions", 100}, {"num_pages", 20}}},
      {"rope_append/rope-append-heads",
       "rope_append_h32_kv8_d128_ps16",
       "num_tokens",
       {1, 5, 64, 1000},
       {{"max_positions", 131072}, {"num_pages", 80}}},
      {"sampling_from_logits/sampling-radix",
       "sampling_from_logits_v4096",
       "num_tokens",
       {1, 7, 64, 700}},
      {"sampling_from_logits/sampling-radix", "sampling_from_logits_v1003", "num_tokens", {400}},
      {"sampling_from_logits/sampling-radix",
       "sampling_from_logits_v151936",
       "num_tokens",
       {1, 8, 33, 256}},
      {"sampling_from_logits/sampling-radix", "sampling_from_logits_v262144", "num_tokens", {3}},
      {"silu_and_mul/silu-and-mul-vectors", "silu_and_mul_i768", "num_tokens", {1, 17, 300}},
  };
  for (const Case& wanted : cases) {
    SCOPED_TRACE(wanted.signature);
    auto solution = read_solution(kSource / "leaderboard/solutions/cuda" / wanted.folder);
    ASSERT_TRUE(solution) << solution.error().to_string();
    const auto signature = shared().catalog.find(wanted.signature);
    ASSERT_TRUE(signature) << signature.error().to_string();
    const ArtifactPtr artifact = build(*solution, **signature);
    if (!artifact) continue;
    for (const int64_t size : wanted.sizes) {
      std::vector<std::pair<std::string, int64_t>> axes = wanted.other_axes;
      if (wanted.axis != nullptr) axes.insert(axes.begin(), {wanted.axis, size});
      expect_house_solution(artifact, *signature, std::move(axes));
    }
  }
}

// As in a captured graph that is replayed with other lengths: the plan sees only the axes.
TEST_F(CudaDeviceTest, HouseDecodeNeedsNoLengthsOnTheHost) {
  struct Case {
    const char* folder;
    const char* signature;
    std::vector<int64_t> batches;
    int64_t entries, pages;
  };
  const Case cases[] = {
      {"gqa_paged_decode/gqa-decode-split", "gqa_paged_decode_h4_kv2_d64_ps1", {1, 16}, 3200, 3616},
      {"gqa_paged_decode/gqa-decode-split",
       "gqa_paged_decode_h32_kv8_d128_ps1",
       {1, 64},
       40000,
       44000},
      {"gqa_paged_decode_last_page/gqa-decode-split-last-page",
       "gqa_paged_decode_h32_kv4_d128_ps16",
       {1, 5, 16, 64, 256},
       2048,
       2304},
  };
  for (const Case& wanted : cases) {
    SCOPED_TRACE(wanted.signature);
    auto solution = read_solution(kSource / "leaderboard/solutions/cuda" / wanted.folder);
    ASSERT_TRUE(solution) << solution.error().to_string();
    const auto found = shared().catalog.find(wanted.signature);
    ASSERT_TRUE(found) << found.error().to_string();
    Signature blind = **found;
    blind.fib.host_visible.clear();
    const auto signature = std::make_shared<const Signature>(std::move(blind));
    const ArtifactPtr artifact = build(*solution, *signature);
    if (!artifact) continue;
    for (const int64_t batch : wanted.batches) {
      expect_house_solution(
          artifact, signature,
          {{"batch_size", batch}, {"num_kv_indices", wanted.entries}, {"num_pages", wanted.pages}});
    }
  }
}

// The memory of an output in place of an input comes with its content.
TEST_F(CudaDeviceTest, RowsOfACacheThatShouldStayAreJudged) {
  auto solution =
      read_solution(kSource / "leaderboard/solutions/cuda/rope_append/rope-append-heads");
  ASSERT_TRUE(solution) << solution.error().to_string();
  const auto signature = shared().catalog.find("rope_append_h4_kv2_d64_ps16");
  ASSERT_TRUE(signature) << signature.error().to_string();
  std::string& kernel = solution->sources[0].content;
  const size_t at = kernel.find("slots[token]");
  ASSERT_NE(at, std::string::npos);
  kernel.insert(at + 6, "(token == 0 ? 1 : 0) + ");  // the first token's go where the second's do
  const ArtifactPtr artifact = build(*solution, **signature);
  ASSERT_TRUE(artifact);
  Workload workload;
  workload.uuid = "wrong row";
  workload.axes = {{"num_tokens", 9}, {"max_positions", 64}, {"num_pages", 4}};
  const auto outcomes = measure({artifact}, *fib::bind(*signature, workload), quick());
  ASSERT_EQ(outcomes.size(), 1u);
  if (outcomes[0].fault) {  // two tokens race for one row
    EXPECT_EQ(outcomes[0].fault->kind, FaultKind::kUnstableOutput);
  } else {
    EXPECT_EQ(outcomes[0].checks[0].elements_over_bound, 0);
    EXPECT_GT(outcomes[0].checks[1].elements_over_bound, 0);
    EXPECT_GT(outcomes[0].checks[2].elements_over_bound, 0);
  }
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
