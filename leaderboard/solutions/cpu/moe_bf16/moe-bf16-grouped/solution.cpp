// moe_bf16: output = sum_k topk_weights * down(silu(gate(x)) * up(x)) over each token's experts.
// hidden_states [num_tokens, H] bf16; topk_ids [num_tokens, top_k] int32; topk_weights fp32 alike;
// w13 [E, 2 I, H] bf16 (gate rows, then up rows); w2 [E, H, I] bf16 -> output [num_tokens, H] bf16.

#include <fib/cpu/moe.h>
#include <fib/cpu/moe_tiles.h>

namespace {

constexpr int64_t kExperts = FIB_AXIS_num_experts, kTopK = FIB_AXIS_top_k;
constexpr int64_t kHidden = FIB_AXIS_hidden_size, kInner = FIB_AXIS_intermediate_size;
using Experts =
    fib::Moe<kExperts, kTopK, kHidden, kInner, fib::Bf16Rows<kHidden>, fib::Bf16Rows<kInner>>;
using InTiles = fib::TileMoe<kExperts, kTopK, kHidden, kInner, fib::TileRegisters>;

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return fib::with_experts<Experts, InTiles>(
      [&](auto& experts) { return experts.workspace_bytes(call->inputs[0].shape[0]); });
}

extern "C" int fib_run(const FibCall* call) {
  fib::with_experts<Experts, InTiles>([&](auto& experts) {
    experts.hidden = static_cast<const uint16_t*>(call->inputs[0].data);
    experts.ids = static_cast<const int32_t*>(call->inputs[1].data);
    experts.weights = static_cast<const float*>(call->inputs[2].data);
    experts.gate_up.data = static_cast<const uint16_t*>(call->inputs[3].data);
    experts.down.data = static_cast<const uint16_t*>(call->inputs[4].data);
    experts.output = static_cast<uint16_t*>(call->outputs[0].data);
    experts.tokens = call->inputs[0].shape[0];
    experts.run(call);
  });
  return 0;
}
