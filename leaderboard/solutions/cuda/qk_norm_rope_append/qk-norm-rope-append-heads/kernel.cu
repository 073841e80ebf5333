// Heads are normalised, turned and stored from the registers of the lanes that share them.

#include <fib/device/launch.h>
#include <fib/device/reduce.h>
#include <fib/device/rope.h>

#include "shape.h"

using fib::Bf16;

// qkv [tokens, kHeads, kDim] bf16: query, key and value heads; q_weight and k_weight [kDim] bf16;
// cos_sin [positions, kDim] float32; positions and slots [tokens] int32; q [tokens, kQoHeads, kDim]
// bf16; caches [slots, kKvHeads, kDim] bf16, of which only the rows in `slots` are written.
__global__ void __launch_bounds__(kThreads)
    qk_norm_rope_append(const Bf16* qkv, const Bf16* q_weight, const Bf16* k_weight,
                        const float* cos_sin, const int* positions, const int* slots, Bf16* q,
                        Bf16* k_cache, Bf16* v_cache, int tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const int group = blockIdx.x * kHeadsPerBlock + threadIdx.x / kLanes;
  const bool is_idle = group >= tokens * kHeads || threadIdx.x % kLanes >= kVectors;
  // Lanes without a part of a head go on with the first: the shuffles need them.
  const int row = is_idle ? 0 : group, at = is_idle ? 0 : threadIdx.x % kLanes * kWidth;
  const int token = row / kHeads, head = row % kHeads;
  fib::HeadPart<kHalf, kWidth> part;
  part.load_from(qkv + static_cast<size_t>(row) * kDim, at);
  const float squares = fib::sum_over_lanes<kLanes>(is_idle ? 0.0f : part.sum_of_squares());
  if (is_idle) return;

  const float scale = rsqrtf(squares / kDim + static_cast<float>(FIB_PARAM_eps));
  const float* const turn_by = cos_sin + static_cast<size_t>(positions[token]) * kDim;
  if (head < kQoHeads) {
    part.turn(turn_by, q_weight, scale, at);
    part.store_to(q + (static_cast<size_t>(token) * kQoHeads + head) * kDim, at);
    return;
  }
  const bool is_key = head < kQoHeads + kKvHeads;
  if (is_key) part.turn(turn_by, k_weight, scale, at);
  const size_t slot = static_cast<size_t>(slots[token]) * kKvHeads + (head - kQoHeads) % kKvHeads;
  part.store_to((is_key ? k_cache : v_cache) + slot * kDim, at);
}
