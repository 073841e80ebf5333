// On a card: the house's solutions, and its cases of signatures that only a solution can show.
// Skips without one.

#include <gmock/gmock.h>

#include <chrono>
#include <ostream>
#include <random>

#include "harness/statistics.h"
#include "signatures/design_space.h"
#include "tests/runners/cuda_device_fixture.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

class CudaHouseTest : public CudaDeviceTest {
 protected:
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
};

struct HouseCase {
  const char* folder;
  const char* signature;
  const char* axis;  // nullptr: the first built-in workload
  std::vector<int64_t> sizes = {0};
  std::vector<std::pair<std::string, int64_t>> other_axes = {};
};
// For the names that ctest gives the tests.
void PrintTo(const HouseCase& wanted, std::ostream* out) { *out << wanted.signature; }

class CudaHouseSolutionTest : public CudaHouseTest,
                              public testing::WithParamInterface<HouseCase> {};

// With few and many rows, ragged numbers among them.
TEST_P(CudaHouseSolutionTest, IsRight) {
  const HouseCase& wanted = GetParam();
  auto solution = read_solution(kSource / "leaderboard/solutions/cuda" / wanted.folder);
  ASSERT_TRUE(solution) << solution.error().to_string();
  const auto signature = shared().catalog.find(wanted.signature);
  ASSERT_TRUE(signature) << signature.error().to_string();
  const ArtifactPtr artifact = build(*solution, **signature);
  ASSERT_TRUE(artifact);
  for (const int64_t size : wanted.sizes) {
    std::vector<std::pair<std::string, int64_t>> axes = wanted.other_axes;
    if (wanted.axis != nullptr) axes.insert(axes.begin(), {wanted.axis, size});
    expect_house_solution(artifact, *signature, std::move(axes));
  }
}

const HouseCase kHouseCases[] = {
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
    {"gemm_bf16/gemm-bf16-mma", "gemm_bf16_n256_k256", "M", {1, 5, 17, 64, 65, 300}},
    {"gemm_bf16/gemm-bf16-mma", "gemm_bf16_n2048_k4096", "M", {1, 17, 33, 100, 1024}},
    {"gemm_bf16/gemm-bf16-mma", "gemm_bf16_n70_k264", "M", {1, 5, 17, 65}},
    {"gemm_bf16_f32/gemm-bf16-f32-mma", "gemm_bf16_f32_n128_k2048", "M", {1, 17, 300}},
    {"gemm_bf16_f32/gemm-bf16-f32-mma", "gemm_bf16_f32_n32_k256", "M", {1, 5, 65}},
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
    {"gemm_bf16_f32/gemm-bf16-f32-hopper", "gemm_bf16_f32_n32_k256", "M", {1, 5, 17, 64, 65, 300}},
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
    {"sampling_from_logits/sampling-radix", "sampling_from_logits_v32000", "num_tokens", {9}},
    {"sampling_from_logits/sampling-radix", "sampling_from_logits_v50257", "num_tokens", {2, 40}},
    {"sampling_from_logits/sampling-radix", "sampling_from_logits_v262144", "num_tokens", {3}},
    {"silu_and_mul/silu-and-mul-vectors", "silu_and_mul_i768", "num_tokens", {1, 17, 300}},
};
// A signature may be served by several: "gemm_n4096_k4096_by_gemm_mma".
std::string test_name(const testing::TestParamInfo<HouseCase>& wanted) {
  std::string name = std::filesystem::path(wanted.param.folder).filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return std::string(wanted.param.signature) + "_by_" + name;
}
INSTANTIATE_TEST_SUITE_P(All, CudaHouseSolutionTest, testing::ValuesIn(kHouseCases), test_name);

// As in a captured graph that is replayed with other lengths: the plan sees only the axes.
TEST_F(CudaHouseTest, HouseDecodeNeedsNoLengthsOnTheHost) {
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

// What may be tuned stays right: configurations of a solution's space, drawn once and for all.
struct SpaceCase {
  const char* folder;
  const char* signature;
  int draws;
  std::vector<std::vector<std::pair<std::string, int64_t>>> workloads;
};
void PrintTo(const SpaceCase& wanted, std::ostream* out) { *out << wanted.signature; }

class CudaHouseSpaceTest : public CudaHouseTest, public testing::WithParamInterface<SpaceCase> {};

TEST_P(CudaHouseSpaceTest, OtherConfigurationsAreRightToo) {
  const SpaceCase& wanted = GetParam();
  auto solution = read_solution(kSource / "leaderboard/solutions/cuda" / wanted.folder);
  ASSERT_TRUE(solution) << solution.error().to_string();
  const auto signature = shared().catalog.find(wanted.signature);
  ASSERT_TRUE(signature) << signature.error().to_string();
  // Work is cut by the plan, where the host may see lengths, and by the kernels.
  std::vector<SignaturePtr> signatures = {*signature};
  if (!(*signature)->fib.host_visible.empty()) {
    Signature blind = **signature;
    blind.fib.host_visible.clear();
    signatures.push_back(std::make_shared<const Signature>(std::move(blind)));
  }
  const auto space = design_space_of(*solution);
  ASSERT_TRUE(space) << space.error().to_string();
  std::mt19937_64 bits(1);
  for (int drawn = 0; drawn < wanted.draws;) {
    Configuration configuration;
    for (const Tunable& tunable : space->tunables) {
      configuration.push_back(tunable.values[bits() % tunable.values.size()]);
    }
    if (!admits(*space, configuration, **signature).value()) continue;
    ++drawn;
    const auto tuned = with_configuration(*solution, *space, configuration);
    ASSERT_TRUE(tuned) << tuned.error().to_string();
    SCOPED_TRACE(tuned->fib.dump());
    for (const SignaturePtr& seen : signatures) {
      const ArtifactPtr artifact = build(*tuned, *seen);
      if (!artifact) continue;
      for (const auto& axes : wanted.workloads) expect_house_solution(artifact, seen, axes);
    }
  }
}

const SpaceCase kSpaceCases[] = {
    {"gqa_paged_decode/gqa-decode-split",
     "gqa_paged_decode_h4_kv2_d64_ps1",
     8,
     {{{"batch_size", 1}, {"num_kv_indices", 3200}, {"num_pages", 3616}},
      {{"batch_size", 16}, {"num_kv_indices", 3200}, {"num_pages", 3616}}}},
    {"gqa_paged_decode/gqa-decode-split",
     "gqa_paged_decode_h16_kv2_d256_ps1",
     4,
     {{{"batch_size", 5}, {"num_kv_indices", 9000}, {"num_pages", 9100}}}},
    {"gqa_paged_decode_last_page/gqa-decode-split-last-page",
     "gqa_paged_decode_h32_kv4_d128_ps16",
     8,
     {{{"batch_size", 1}, {"num_kv_indices", 202}, {"num_pages", 300}},
      {{"batch_size", 64}, {"num_kv_indices", 4096}, {"num_pages", 4608}}}},
    {"moe_int4_g32/moe-int4-grouped",
     "moe_int4_g32_topk4_e32_h256_i128",
     4,
     {{{"num_tokens", 1}}, {{"num_tokens", 17}}, {{"num_tokens", 70}}}},
    {"moe_int4_g32/moe-int4-grouped",
     "moe_int4_g32_topk8_e128_h2048_i768",
     6,
     {{{"num_tokens", 1}}, {{"num_tokens", 8}}, {{"num_tokens", 15}}, {{"num_tokens", 100}}}},
};
INSTANTIATE_TEST_SUITE_P(All, CudaHouseSpaceTest, testing::ValuesIn(kSpaceCases),
                         [](const auto& wanted) { return std::string(wanted.param.signature); });

// The memory of an output in place of an input comes with its content.
TEST_F(CudaHouseTest, RowsOfACacheThatShouldStayAreJudged) {
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

}  // namespace
}  // namespace fib
