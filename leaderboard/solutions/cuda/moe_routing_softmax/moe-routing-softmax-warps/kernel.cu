// The largest top_k of each token's logits, and their softmax.

#include <fib/device/launch.h>
#include <fib/device/reduce.h>

#include "shape.h"

using fib::u32;

// logits [tokens, kExperts] float32, topk_weights [tokens, kTopK] float32, topk_ids [tokens, kTopK]
// int32. A warp a token; lane l holds experts l, l + 32, ...
__global__ void __launch_bounds__(32 * kTokensPerBlock)
    route(const float* logits, float* topk_weights, int* topk_ids, int tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const int lane = threadIdx.x % 32;
  const int token = blockIdx.x * kTokensPerBlock + threadIdx.x / 32;
  if (token >= tokens) return;
  float values[kPerLane];
  u32 keys[kPerLane];  // 0: no expert, or chosen already
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * 32 + lane;
    const bool exists = kExperts % 32 == 0 || expert < kExperts;
    values[i] = exists ? logits[static_cast<size_t>(token) * kExperts + expert] : 0.0f;
    keys[i] = exists ? fib::ordered_bits(values[i]) : 0;
  }

  float largest = 0.0f, chosen_value = 0.0f;
  int chosen_id = 0;
#pragma unroll 1
  for (int k = 0; k < kTopK; ++k) {
    u32 key = 0, id = 0xFFFFFFFFu;
    float value = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (keys[i] > key) {  // of equal ones the first
        key = keys[i];
        id = i * 32 + lane;
        value = values[i];
      }
    }
    const u32 best_key = fib::max_over_lanes(key);
    const u32 best_id = fib::min_over_lanes(key == best_key ? id : 0xFFFFFFFFu);
    value = __shfl_sync(0xFFFFFFFFu, value, best_id % 32);
    if (k == 0) largest = value;
    if (lane == k) {
      chosen_id = best_id;
      chosen_value = value;
    }
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * 32 + lane == best_id) keys[i] = 0;
    }
  }

  const float weight = lane < kTopK ? expf(chosen_value - largest) : 0.0f;
  float sum = weight;
  if constexpr (!FIB_PARAM_renormalize) {  // over all experts
    sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const bool exists = kExperts % 32 == 0 || i * 32 + lane < kExperts;
      if (exists) sum += expf(values[i] - largest);
    }
  }
  sum = fib::sum_over_lanes<32>(sum);
  if (lane < kTopK) {
    const size_t at = static_cast<size_t>(token) * kTopK + lane;
    topk_weights[at] = weight / sum;
    topk_ids[at] = chosen_id;
  }
}
