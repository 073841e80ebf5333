#pragma once

// What the mixture-of-experts references share: tokens grouped by expert, and the two products of
// each expert. Only experts with tokens are touched, and each of their weight rows is read once.

#include <functional>
#include <span>
#include <vector>

#include "reference/reference.h"

namespace fib {

struct Assignment {
  int64_t token = 0;
  double weight = 0.0;  // of this expert in the token's output
};
struct ExpertGroup {
  int64_t expert = 0;  // index into the weight tensors
  std::vector<Assignment> tokens;
};

// Experts with tokens in ascending order, each with its tokens in ascending order, from topk_ids
// [num_tokens, top_k] and topk_weights of the same shape. An id outside of [0, num_experts) is an
// error.
Result<std::vector<ExpertGroup>> group_by_expert(const TensorSource& ids,
                                                 const TensorSource& weights, int64_t num_experts);

struct ExpertCall {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  std::vector<float> hidden;  // [tokens, hidden_size]
  std::vector<ExpertGroup> groups;
  // Row of gate and up, [2 * intermediate_size, hidden_size] an expert: the gate's rows first.
  std::function<void(int64_t expert, int64_t row, std::span<float> out)> read_gate_up;
  // Which half of gate_up goes through silu.
  enum class Order { kGateFirst, kUpFirst } order = Order::kGateFirst;
  // Row of down, [hidden_size, intermediate_size] an expert.
  std::function<void(int64_t expert, int64_t row, std::span<float> out)> read_down;
  // How an honest kernel rounds a token's silu(gate) * up between the products.
  std::function<void(std::span<float> values)> round_intermediate;
};

// output[token] = sum over its experts of weight * down(silu(gate(x)) * up(x)).
void run_experts(const ReferenceCall& call, const ExpertCall& experts, FloatBuffer& output);

}  // namespace fib
