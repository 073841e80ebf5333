// moe_fp8_block_scale: DeepSeek-V3's experts, activations and weights in fp8 (e4m3) with one fp32
// scale a block of 128 (activations) or 128 x 128 (weights), routing included:
//   s = sigmoid(logits); of s + bias keep the best groups (a group's score is the sum of its two
//   best), choose top_k experts among them, weight them by s / sum of s chosen * scaling factor.
// Of the experts chosen, those in [local_expert_offset, + num_local_experts) are computed here.
// The rows of gemm1 are up first, then gate.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "reference/call.h"
#include "reference/moe.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

constexpr int64_t kBlock = 128;

struct Router {
  int64_t top_k = 8;
  int64_t num_groups = 1;
  int64_t top_groups = 1;
  double scaling = 1.0;
};

// Indices of the `count` largest of `scores`, the lower index first among equals.
std::vector<int64_t> largest(const std::vector<double>& scores, int64_t count) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  order.resize(static_cast<size_t>(count));
  return order;
}

// Experts of one token with their weights.
std::vector<std::pair<int64_t, double>> route(const Router& router, std::span<const float> logits,
                                              std::span<const float> bias) {
  const size_t num_experts = logits.size();
  std::vector<double> probability(num_experts), biased(num_experts);
  for (size_t e = 0; e < num_experts; ++e) {
    probability[e] = 1 / (1 + std::exp(-static_cast<double>(logits[e])));
    biased[e] = probability[e] + bias[e];
  }
  const size_t group_size = num_experts / static_cast<size_t>(router.num_groups);
  std::vector<double> group_score;
  for (size_t first = 0; first < num_experts; first += group_size) {
    std::vector<double> group(biased.begin() + first, biased.begin() + first + group_size);
    std::sort(group.begin(), group.end(), std::greater<>());
    group_score.push_back(group[0] + (group_size > 1 ? group[1] : 0.0));
  }
  std::vector<double> candidates(num_experts, -std::numeric_limits<double>::infinity());
  for (const int64_t group : largest(group_score, router.top_groups)) {
    std::copy_n(biased.begin() + group * group_size, group_size,
                candidates.begin() + group * group_size);
  }
  const std::vector<int64_t> chosen = largest(candidates, router.top_k);
  double sum = 0.0;
  for (const int64_t e : chosen) sum += probability[e];
  std::vector<std::pair<int64_t, double>> weighted;
  for (const int64_t e : chosen) {
    weighted.emplace_back(e, probability[e] / sum * router.scaling);
  }
  return weighted;
}

// What fp8 kernels do between the products: each block of 128 scaled to the format's range.
void round_to_scaled_fp8(std::span<float> values) {
  constexpr float kLargest = 448.0f;
  for (size_t first = 0; first < values.size(); first += kBlock) {
    const std::span<float> block =
        values.subspan(first, std::min<size_t>(kBlock, values.size() - first));
    float highest = 0.0f;
    for (const float value : block) highest = std::max(highest, std::abs(value));
    if (highest == 0.0f) continue;
    const float scale = highest / kLargest;
    for (float& value : block) value /= scale;
    Honest::round(DType::kFloat8E4M3FN, block);
    for (float& value : block) value *= scale;
  }
}

// Row `row` of expert `expert` of an fp8 tensor [experts, rows, width] with block scales
// [experts, rows / 128, width / 128]. The product of value and scale is rounded to fp32.
void read_scaled_row(const TensorSource& values, const TensorSource& scales, int64_t expert,
                     int64_t row, std::span<float> out) {
  const std::vector<int64_t>& shape = values.desc().shape;
  const std::vector<int64_t>& blocks = scales.desc().shape;
  read_row(values, expert * shape[1] + row, out);
  std::vector<float> scale(static_cast<size_t>(blocks[2]));
  read_row(scales, expert * blocks[1] + row / kBlock, std::span<float>(scale));
  for (size_t i = 0; i < out.size(); ++i) out[i] *= scale[i / kBlock];
}

// fp8 [tokens, hidden] with scales [hidden / 128, tokens].
std::vector<float> read_hidden(const TensorSource& values, const TensorSource& scales) {
  const int64_t tokens = values.desc().shape[0], hidden = values.desc().shape[1];
  std::vector<float> result(static_cast<size_t>(tokens * hidden));
  std::vector<float> scale(static_cast<size_t>(scales.desc().num_elements()));
  values.read(0, std::span<float>(result));
  scales.read(0, std::span<float>(scale));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < hidden; ++i) {
      result[t * hidden + i] *= scale[i / kBlock * tokens + t];
    }
  }
  return result;
}

}  // namespace

Result<ReferenceOutputs> moe_fp8_block_scale_reference(const ReferenceCall& call) {
  const TensorSource* logits = FIB_TRY(need_input(call, "routing_logits"));
  const TensorSource* bias = FIB_TRY(need_input(call, "routing_bias"));
  const TensorSource* hidden = FIB_TRY(need_input(call, "hidden_states"));
  const TensorSource* hidden_scale = FIB_TRY(need_input(call, "hidden_states_scale"));
  const TensorSource* w13 = FIB_TRY(need_input(call, "gemm1_weights"));
  const TensorSource* w13_scale = FIB_TRY(need_input(call, "gemm1_weights_scale"));
  const TensorSource* w2 = FIB_TRY(need_input(call, "gemm2_weights"));
  const TensorSource* w2_scale = FIB_TRY(need_input(call, "gemm2_weights_scale"));
  const TensorSource* offset = FIB_TRY(need_input(call, "local_expert_offset"));
  const TensorSource* scaling = FIB_TRY(need_input(call, "routed_scaling_factor"));

  const Signature& signature = *call.problem.signature;
  const auto parameter = [&](const char* name, double fallback) {
    return static_cast<int64_t>(signature.parameter(name, fallback));
  };
  const Router router = {.top_k = parameter("top_k", 8),
                         .num_groups = parameter("num_groups", 1),
                         .top_groups = parameter("top_groups", 1),
                         .scaling = scaling->scalar()};
  const int64_t num_experts = logits->desc().shape[1];
  if (router.num_groups < 1 || num_experts % router.num_groups != 0 ||
      router.top_groups > router.num_groups ||
      router.top_k > num_experts / router.num_groups * router.top_groups) {
    return fail(ErrorCode::kInvalidInput,
                "top_k, num_groups and top_groups don't fit the number of experts",
                signature.name + ": fib.parameters");
  }

  ExpertCall experts;
  experts.hidden_size = hidden->desc().shape[1];
  experts.intermediate_size = w13->desc().shape[1] / 2;
  experts.hidden = read_hidden(*hidden, *hidden_scale);
  experts.order = ExpertCall::Order::kUpFirst;
  experts.read_gate_up = [&](int64_t expert, int64_t row, std::span<float> out) {
    read_scaled_row(*w13, *w13_scale, expert, row, out);
  };
  experts.read_down = [&](int64_t expert, int64_t row, std::span<float> out) {
    read_scaled_row(*w2, *w2_scale, expert, row, out);
  };
  experts.round_intermediate = round_to_scaled_fp8;

  const int64_t num_local = w13->desc().shape[0];
  const auto first_local = static_cast<int64_t>(offset->scalar());
  std::vector<float> token_logits(static_cast<size_t>(num_experts)), biases(token_logits.size());
  bias->read(0, std::span<float>(biases));
  std::vector<ExpertGroup> local(static_cast<size_t>(num_local));
  for (int64_t token = 0; token < logits->desc().shape[0]; ++token) {
    read_row(*logits, token, std::span<float>(token_logits));
    for (const auto& [expert, weight] : route(router, token_logits, biases)) {
      const int64_t slot = expert - first_local;
      if (slot >= 0 && slot < num_local) local[slot].tokens.push_back({token, weight});
    }
  }
  for (int64_t slot = 0; slot < num_local; ++slot) {
    if (!local[slot].tokens.empty()) experts.groups.push_back({slot, local[slot].tokens});
  }

  ReferenceOutputs outputs = make_outputs(call.problem);
  run_experts(call, experts, outputs[0]);
  return outputs;
}

}  // namespace fib
