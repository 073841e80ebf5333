#pragma once

// All references, each a function; registry.cpp lists them by id.

#include "reference/reference.h"

namespace fib {

Result<ReferenceOutputs> rmsnorm_reference(const ReferenceCall& call);
Result<ReferenceOutputs> fused_add_rmsnorm_reference(const ReferenceCall& call);
Result<ReferenceOutputs> fused_add_rmsnorm_residual_reference(const ReferenceCall& call);
Result<ReferenceOutputs> embedding_reference(const ReferenceCall& call);
Result<ReferenceOutputs> silu_and_mul_reference(const ReferenceCall& call);
Result<ReferenceOutputs> gemm_reference(const ReferenceCall& call);
Result<ReferenceOutputs> gqa_paged_decode_reference(const ReferenceCall& call);
Result<ReferenceOutputs> gqa_paged_prefill_reference(const ReferenceCall& call);
Result<ReferenceOutputs> gqa_ragged_prefill_reference(const ReferenceCall& call);
Result<ReferenceOutputs> mla_paged_decode_reference(const ReferenceCall& call);
Result<ReferenceOutputs> mla_paged_prefill_reference(const ReferenceCall& call);
Result<ReferenceOutputs> mla_ragged_prefill_reference(const ReferenceCall& call);
Result<ReferenceOutputs> moe_routing_softmax_reference(const ReferenceCall& call);
Result<ReferenceOutputs> moe_bf16_reference(const ReferenceCall& call);
Result<ReferenceOutputs> moe_int4_g32_reference(const ReferenceCall& call);
Result<ReferenceOutputs> moe_fp8_block_scale_reference(const ReferenceCall& call);
Result<ReferenceOutputs> rope_append_reference(const ReferenceCall& call);
Result<ReferenceOutputs> qk_norm_rope_append_reference(const ReferenceCall& call);
Result<ReferenceOutputs> sampling_from_logits_reference(const ReferenceCall& call);
Result<std::vector<DrawScore>> sampling_from_logits_scores(const ReferenceCall& call,
                                                           std::span<const int64_t> draws);
Result<ReferenceOutputs> argmax_reference(const ReferenceCall& call);

}  // namespace fib
