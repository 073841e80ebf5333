// moe_bf16: experts with weights in bfloat16, routing given.
// output = sum over k of topk_weights * down(silu(gate(x)) * up(x)).

#include "reference/call.h"
#include "reference/moe.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {

Result<ReferenceOutputs> moe_bf16_reference(const ReferenceCall& call) {
  const TensorSource* hidden_states = FIB_TRY(need_input(call, "hidden_states"));
  const TensorSource* topk_ids = FIB_TRY(need_input(call, "topk_ids"));
  const TensorSource* topk_weights = FIB_TRY(need_input(call, "topk_weights"));
  const TensorSource* w13 = FIB_TRY(need_input(call, "w13"));
  const TensorSource* w2 = FIB_TRY(need_input(call, "w2"));

  ExpertCall experts;
  experts.hidden_size = hidden_states->desc().shape[1];
  experts.intermediate_size = w13->desc().shape[1] / 2;
  experts.hidden.resize(static_cast<size_t>(hidden_states->desc().num_elements()));
  hidden_states->read(0, std::span<float>(experts.hidden));
  experts.groups = FIB_TRY(group_by_expert(*topk_ids, *topk_weights, w13->desc().shape[0]));
  experts.read_gate_up = [&](int64_t expert, int64_t row, std::span<float> out) {
    read_row(*w13, expert * 2 * experts.intermediate_size + row, out);
  };
  experts.read_down = [&](int64_t expert, int64_t row, std::span<float> out) {
    read_row(*w2, expert * experts.hidden_size + row, out);
  };
  experts.round_intermediate = [](std::span<float> values) {
    Honest::round(DType::kBFloat16, values);
  };

  ReferenceOutputs outputs = make_outputs(call.problem);
  run_experts(call, experts, outputs[0]);
  return outputs;
}

}  // namespace fib
