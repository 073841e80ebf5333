#include <fmt/format.h>

#include "integrations/serving/model/blocks.h"

namespace fib {

SignatureNames::SignatureNames(const ModelConfig& c, int page_size) {
  const int q_size = c.num_heads * c.head_dim, kv_size = c.num_kv_heads * c.head_dim;
  const std::map<std::string, double> eps = {{"eps", c.rms_norm_eps}};
  const std::string heads = fmt::format("h{}_kv{}_d{}_ps{}", c.num_heads, c.num_kv_heads,
                                        c.head_dim, page_size);
  const std::string expert_shape = fmt::format("topk{}_e{}_h{}_i{}", c.experts_per_token,
                                               c.num_experts, c.hidden_size, c.expert_size);
  const auto product = [](std::string_view family, int outputs, int inputs) {
    return SignatureRequest{fmt::format("{}_n{}_k{}", family, outputs, inputs), {}};
  };
  embedding = {fmt::format("embedding_v{}_h{}", c.vocab_size, c.hidden_size), {}};
  norm = {fmt::format("rmsnorm_h{}", c.hidden_size), eps};
  add_norm = {fmt::format("fused_add_rmsnorm_residual_h{}", c.hidden_size), eps};
  qkv = product("gemm_bf16", q_size + 2 * kv_size, c.hidden_size);
  rope_append = c.has_qk_norm ? SignatureRequest{"qk_norm_rope_append_" + heads, eps}
                              : SignatureRequest{"rope_append_" + heads, {}};
  decode = {"gqa_paged_decode_" + heads, {}};
  prefill = {"gqa_paged_prefill_causal_" + heads, {}};
  output_projection = product("gemm_bf16", c.hidden_size, q_size);
  router = product("gemm_bf16_f32", c.num_experts, c.hidden_size);
  routing = {fmt::format("moe_routing_softmax_topk{}_e{}", c.experts_per_token, c.num_experts),
             {{"renormalize", c.renormalises_routing ? 1.0 : 0.0}}};
  experts = {(c.expert_format == ExpertFormat::kInt4Group32 ? "moe_int4_g32_" : "moe_bf16_") +
                 expert_shape,
             {}};
  gate_up = product("gemm_bf16", 2 * c.intermediate_size, c.hidden_size);
  activation = {fmt::format("silu_and_mul_i{}", c.intermediate_size), {}};
  down = product("gemm_bf16", c.hidden_size, c.intermediate_size);
  lm_head = product("gemm_bf16_f32", c.vocab_size, c.hidden_size);
  argmax = {fmt::format("argmax_v{}", c.vocab_size), {}};
  sampling = {fmt::format("sampling_from_logits_v{}", c.vocab_size), {}};
}

std::vector<SignatureRequest> model_signatures(const ModelConfig& config, int page_size) {
  const SignatureNames n(config, page_size);
  std::vector<SignatureRequest> all = {n.embedding,   n.norm,    n.add_norm,
                                       n.qkv,         n.rope_append, n.decode,
                                       n.prefill,     n.output_projection, n.lm_head,
                                       n.argmax,      n.sampling};
  bool has_experts = false, has_dense = false;
  for (const LayerConfig& layer : config.layers) {
    (layer.ffn == FfnKind::kExperts ? has_experts : has_dense) = true;
  }
  if (has_experts) all.insert(all.end(), {n.router, n.routing, n.experts});
  if (has_dense) all.insert(all.end(), {n.gate_up, n.activation, n.down});
  return all;
}

}  // namespace fib
