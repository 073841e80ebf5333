// moe_int4_g32: experts as Kimi K2 Thinking ships them, weights int4 in groups of 32 with bf16
// scales, routing given. output = sum over k of topk_weights * down(silu(gate(x)) * up(x)).

#include "reference/call.h"
#include "reference/moe.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

constexpr int64_t kGroup = 32;

// Row `row` of the [.., width] int4 matrix that the words hold.
void read_int4_row(const TensorSource& packed, const TensorSource& scale, int64_t row,
                   std::span<float> out) {
  const auto width = static_cast<int64_t>(out.size());
  thread_local std::vector<uint32_t> words;
  thread_local std::vector<float> scales;
  words.resize(static_cast<size_t>(width / 8));
  scales.resize(static_cast<size_t>(width / kGroup));
  packed.read_bytes(row * width / 2, std::as_writable_bytes(std::span<uint32_t>(words)));
  scale.read(row * width / kGroup, std::span<float>(scales));
  dequantise_int4(words.data(), scales.data(), width, out.data());
}

}  // namespace

Result<ReferenceOutputs> moe_int4_g32_reference(const ReferenceCall& call) {
  const TensorSource* hidden_states = FIB_TRY(need_input(call, "hidden_states"));
  const TensorSource* topk_ids = FIB_TRY(need_input(call, "topk_ids"));
  const TensorSource* topk_weights = FIB_TRY(need_input(call, "topk_weights"));
  const TensorSource* w13 = FIB_TRY(need_input(call, "w13_packed"));
  const TensorSource* w13_scale = FIB_TRY(need_input(call, "w13_scale"));
  const TensorSource* w2 = FIB_TRY(need_input(call, "w2_packed"));
  const TensorSource* w2_scale = FIB_TRY(need_input(call, "w2_scale"));

  ExpertCall experts;
  experts.hidden_size = hidden_states->desc().shape[1];
  experts.intermediate_size = w13->desc().shape[1] / 2;
  experts.hidden.resize(static_cast<size_t>(hidden_states->desc().num_elements()));
  hidden_states->read(0, std::span<float>(experts.hidden));
  experts.groups = FIB_TRY(group_by_expert(*topk_ids, *topk_weights, w13->desc().shape[0]));
  experts.read_gate_up = [&](int64_t expert, int64_t row, std::span<float> out) {
    read_int4_row(*w13, *w13_scale, expert * 2 * experts.intermediate_size + row, out);
  };
  experts.read_down = [&](int64_t expert, int64_t row, std::span<float> out) {
    read_int4_row(*w2, *w2_scale, expert * experts.hidden_size + row, out);
  };
  experts.round_intermediate = [](std::span<float> values) {
    Honest::round(DType::kBFloat16, values);
  };

  ReferenceOutputs outputs = make_outputs(call.problem);
  run_experts(call, experts, outputs[0]);
  return outputs;
}

}  // namespace fib
