// The house's cpu solutions and the skeletons against the references, on small problems with ragged
// edges.

#include <gmock/gmock.h>

#include "runners/cpu/skeleton.h"
#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

struct Case {
  std::string label;
  std::string family;    // path below signatures/definitions
  std::string signature;
  std::vector<std::pair<std::string, int64_t>> axes;
  std::vector<std::string> solutions;  // below leaderboard/solutions/cpu
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.label; }

std::vector<Case> cases() {
  return {
      {"rmsnorm", "rmsnorm/rmsnorm", "rmsnorm_h144", {{"batch_size", 37}},
       {"rmsnorm/rmsnorm-plain", "rmsnorm/rmsnorm-rows"}},
      {"fused_add", "rmsnorm/fused_add_rmsnorm", "fused_add_rmsnorm_h144", {{"batch_size", 37}},
       {"fused_add_rmsnorm/fused-add-rmsnorm-rows"}},
      {"gemm", "gemm/gemm", "gemm_n36_k48", {{"M", 7}}, {"gemm/gemm-tiles"}},
      {"gemm_bf16", "gemm/gemm_bf16", "gemm_bf16_n70_k200", {{"M", 7}},
       {"gemm_bf16/gemm-bf16-dots"}},
      {"gemm_bf16_f32", "gemm/gemm_bf16_f32", "gemm_bf16_f32_n33_k2056", {{"M", 270}},
       {"gemm_bf16_f32/gemm-bf16-f32-dots"}},
      {"gqa", "gqa_paged/gqa_paged_decode", "gqa_paged_decode_h8_kv2_d32_ps1",
       {{"batch_size", 5}, {"num_pages", 1500}, {"len_indptr", 6}, {"num_kv_indices", 1400}},
       {"gqa_paged_decode/gqa-decode-split"}},
      {"gqa_last_page", "gqa_paged/gqa_paged_decode_last_page", "gqa_paged_decode_h8_kv2_d32_ps16",
       {{"batch_size", 5}, {"num_pages", 90}, {"len_indptr", 6}, {"num_kv_indices", 80}},
       {"gqa_paged_decode_last_page/gqa-decode-split-last-page"}},
      {"moe", "moe/moe_int4_g32", "moe_int4_g32_topk4_e8_h64_i32", {{"num_tokens", 23}},
       {"moe_int4_g32/moe-int4-grouped"}},
  };
}

// Operations that there is no skeleton of.
std::vector<Case> bare_cases() {
  return {
      {"fused_add_residual", "rmsnorm/fused_add_rmsnorm_residual",
       "fused_add_rmsnorm_residual_h144", {{"batch_size", 37}},
       {"fused_add_rmsnorm_residual/fused-add-rmsnorm-residual-rows"}},
      {"embedding", "embedding/embedding", "embedding_v100_h40", {{"num_tokens", 37}},
       {"embedding/embedding-copy"}},
      {"silu_and_mul", "activation/silu_and_mul", "silu_and_mul_i2070", {{"num_tokens", 11}},
       {"silu_and_mul/silu-and-mul-rows"}},
      {"routing", "moe_routing/moe_routing_softmax", "moe_routing_softmax_topk5_e44",
       {{"num_tokens", 37}}, {"moe_routing_softmax/moe-routing-softmax-select"}},
      {"moe_bf16", "moe/moe_bf16", "moe_bf16_topk3_e6_h144_i48", {{"num_tokens", 23}},
       {"moe_bf16/moe-bf16-grouped"}},
      {"argmax", "sampling/argmax", "argmax_v40003", {{"num_tokens", 5}},
       {"argmax/argmax-lanes"}},
      {"rope", "rope/rope_append", "rope_append_h4_kv2_d32_ps8",
       {{"num_tokens", 29}, {"max_positions", 100}, {"num_pages", 5}},
       {"rope_append/rope-append-tokens"}},
      {"qk_norm_rope", "rope/qk_norm_rope_append", "qk_norm_rope_append_h6_kv2_d96_ps8",
       {{"num_tokens", 29}, {"max_positions", 100}, {"num_pages", 5}},
       {"qk_norm_rope_append/qk-norm-rope-append-tokens"}},
      {"sampling", "sampling/sampling_from_logits", "sampling_from_logits_v1003",
       {{"num_tokens", 301}},
       {"sampling_from_logits/sampling-thresholds"}},
  };
}

class CpuSolutionsTest : public CpuTest, public testing::WithParamInterface<Case> {
 protected:
  CpuSolutionsTest() { config_.modes = {}; }
  Problem problem_ = problem_of(signature_of(GetParam().family, GetParam().signature),
                                GetParam().axes);

  void expect_house_solutions_right() {
    for (const std::string& path : GetParam().solutions) {
      SCOPED_TRACE(path);
      const Solution solution =
          must(read_solution_folder(source_folder() / "leaderboard/solutions/cpu" / path));
      EXPECT_TRUE(runner().supports(solution, *problem_.signature).ok);
      expect_right(measure_one(problem_, solution), problem_);
    }
  }
};
class CpuBareSolutionsTest : public CpuSolutionsTest {};

TEST_P(CpuSolutionsTest, HouseSolutionsPass) { expect_house_solutions_right(); }
TEST_P(CpuBareSolutionsTest, HouseSolutionsPass) { expect_house_solutions_right(); }

TEST_P(CpuSolutionsTest, TheSkeletonPasses) {
  for (const SourceFile& file : cpu_skeleton(*problem_.signature))
    folder_.write("skeleton/" + file.path, file.content);
  const Solution solution = must(read_solution_folder(folder_.path() / "skeleton"));
  EXPECT_TRUE(runner().supports(solution, *problem_.signature).ok);
  expect_right(measure_one(problem_, solution), problem_);
}

INSTANTIATE_TEST_SUITE_P(All, CpuSolutionsTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.label; });
INSTANTIATE_TEST_SUITE_P(All, CpuBareSolutionsTest, testing::ValuesIn(bare_cases()),
                         [](const auto& info) { return info.param.label; });

class CpuSkeletonTest : public CpuTest {};

TEST_F(CpuSkeletonTest, OfAnUnknownOpTypeCompilesAndSaysThatItIsZeros) {
  Signature signature = *signature_of("rmsnorm/rmsnorm", "rmsnorm_h64");
  signature.fib.reference = "";
  signature.fib.family = "";
  const auto files = cpu_skeleton(signature);
  EXPECT_THAT(files.at(1).content, testing::HasSubstr("NOT THE OPERATION"));
  for (const SourceFile& file : files) folder_.write("skeleton/" + file.path, file.content);
  const Solution solution = must(read_solution_folder(folder_.path() / "skeleton"));
  const Problem problem = problem_of(std::make_shared<const Signature>(signature),
                                     {{"batch_size", 3}});
  EXPECT_NE(artifact_of(solution, signature), nullptr);
}

}  // namespace
}  // namespace fib
