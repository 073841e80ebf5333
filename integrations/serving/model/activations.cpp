#include "integrations/serving/model/activations.h"

#include <algorithm>

namespace fib {

Result<Activations> Activations::create(ServingDevice& device, const ModelConfig& config,
                                        int rows) {
  constexpr size_t kBFloat16 = 2, kFloat32 = 4;
  const auto allocate = [&](int columns, size_t element_bytes) {
    return device.allocate(static_cast<size_t>(rows) * static_cast<size_t>(columns) *
                           element_bytes);
  };
  const int q_size = config.num_heads * config.head_dim;
  const int kv_size = config.num_kv_heads * config.head_dim;
  Activations a;
  for (DeviceArray& residual : a.residual) {
    residual = FIB_TRY(allocate(config.hidden_size, kBFloat16));
  }
  a.delta = FIB_TRY(allocate(config.hidden_size, kBFloat16));
  a.normed = FIB_TRY(allocate(config.hidden_size, kBFloat16));
  a.qkv = FIB_TRY(allocate(q_size + 2 * kv_size, kBFloat16));
  a.q = FIB_TRY(allocate(q_size, kBFloat16));
  a.attention = FIB_TRY(allocate(q_size, kBFloat16));
  a.lse = FIB_TRY(allocate(config.num_heads, kFloat32));
  a.router_logits = FIB_TRY(allocate(config.num_experts, kFloat32));
  a.topk_weights = FIB_TRY(allocate(config.experts_per_token, kFloat32));
  const auto dense_layers = static_cast<size_t>(
      std::count_if(config.layers.begin(), config.layers.end(),
                    [](const LayerConfig& layer) { return layer.ffn == FfnKind::kDense; }));
  a.topk_ids = FIB_TRY(ComputedIntegers::create(
      device, config.layers.size() - dense_layers,
      static_cast<size_t>(rows) * static_cast<size_t>(config.experts_per_token)));
  if (dense_layers > 0) {
    a.gate_up = FIB_TRY(allocate(2 * config.intermediate_size, kBFloat16));
    a.activated = FIB_TRY(allocate(config.intermediate_size, kBFloat16));
  }
  return a;
}

}  // namespace fib
