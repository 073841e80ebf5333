#include "reference/registry.h"

#include <algorithm>
#include <array>

namespace fib {
namespace {

class FunctionReference final : public Reference {
 public:
  using Function = Result<ReferenceOutputs> (*)(const ReferenceCall& call);
  using Scores = Result<std::vector<DrawScore>> (*)(const ReferenceCall& call,
                                                    std::span<const int64_t> draws);
  constexpr FunctionReference(std::string_view id, Function function, Scores scores = nullptr)
      : id_(id), function_(function), scores_(scores) {}

  std::string_view id() const override { return id_; }
  Result<ReferenceOutputs> run(const ReferenceCall& call) const override { return function_(call); }
  Result<std::vector<DrawScore>> score(const ReferenceCall& call,
                                       std::span<const int64_t> draws) const override {
    if (scores_ != nullptr) return scores_(call, draws);
    return fail(ErrorCode::kUnsupported,
                "the reference '" + std::string(id_) + "' draws nothing at random",
                call.problem.signature->name, "compare elements: drop judged_by");
  }

 private:
  std::string_view id_;
  Function function_;
  Scores scores_;
};

const std::array kReferences = {
    FunctionReference("rmsnorm", rmsnorm_reference),
    FunctionReference("fused_add_rmsnorm", fused_add_rmsnorm_reference),
    FunctionReference("fused_add_rmsnorm_residual", fused_add_rmsnorm_residual_reference),
    FunctionReference("embedding", embedding_reference),
    FunctionReference("silu_and_mul", silu_and_mul_reference),
    FunctionReference("gemm", gemm_reference),
    FunctionReference("gqa_paged_decode", gqa_paged_decode_reference),
    FunctionReference("gqa_paged_prefill", gqa_paged_prefill_reference),
    FunctionReference("gqa_ragged_prefill", gqa_ragged_prefill_reference),
    FunctionReference("mla_paged_decode", mla_paged_decode_reference),
    FunctionReference("mla_paged_prefill", mla_paged_prefill_reference),
    FunctionReference("mla_ragged_prefill", mla_ragged_prefill_reference),
    FunctionReference("moe_routing_softmax", moe_routing_softmax_reference),
    FunctionReference("moe_bf16", moe_bf16_reference),
    FunctionReference("moe_int4_g32", moe_int4_g32_reference),
    FunctionReference("moe_fp8_block_scale", moe_fp8_block_scale_reference),
    FunctionReference("rope_append", rope_append_reference),
    FunctionReference("qk_norm_rope_append", qk_norm_rope_append_reference),
    FunctionReference("sampling_from_logits", sampling_from_logits_reference,
                      sampling_from_logits_scores),
    FunctionReference("argmax", argmax_reference),
};

}  // namespace

const Reference* find_reference(std::string_view id) {
  const auto found = std::find_if(kReferences.begin(), kReferences.end(),
                                  [&](const auto& reference) { return reference.id() == id; });
  return found == kReferences.end() ? nullptr : &*found;
}

std::vector<std::string_view> reference_ids() {
  std::vector<std::string_view> ids;
  for (const auto& reference : kReferences) ids.push_back(reference.id());
  return ids;
}

}  // namespace fib
