#pragma once

// The memory that a step's hidden states pass through, for the largest step, shared by all layers.
// Rows: decode rows, padding, prefill rows.

#include <array>

#include "integrations/package/device.h"
#include "integrations/serving/model/computed_integers.h"
#include "integrations/serving/model/model_config.h"

namespace fib {

struct Activations {
  static Result<Activations> create(ServingDevice& device, const ModelConfig& config, int rows);

  // bfloat16 [rows, hidden_size]. The stream of a layer is `residual[current]`, to which `delta`,
  // what the last block put out, has not been added yet.
  std::array<DeviceArray, 2> residual;
  DeviceArray delta;
  DeviceArray normed;   // what a block reads
  int current = 0;

  DeviceArray qkv;            // bfloat16 [rows, (num_heads + 2 * num_kv_heads) * head_dim]
  DeviceArray q;              // bfloat16 [rows, num_heads, head_dim]
  DeviceArray attention;      // bfloat16 [rows, num_heads, head_dim]
  DeviceArray lse;            // float32 [rows, num_heads]
  DeviceArray router_logits;  // float32 [rows, num_experts]
  DeviceArray topk_weights;   // float32 [rows, experts_per_token]
  ComputedIntegers topk_ids;  // int32 [rows, experts_per_token] of each layer of experts
  DeviceArray gate_up;        // bfloat16 [rows, 2 * intermediate_size]
  DeviceArray activated;      // bfloat16 [rows, intermediate_size]
};

}  // namespace fib
