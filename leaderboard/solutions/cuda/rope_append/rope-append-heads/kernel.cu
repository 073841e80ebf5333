// Heads are turned and stored from the registers of the lanes that share them.

#include <fib/device/launch.h>
#include <fib/device/rope.h>

#include "shape.h"

using fib::Bf16;

// qkv [tokens, kHeads, kDim] bf16: query, key and value heads;
// cos_sin [positions, kDim] float32; positions and slots [tokens] int32; q [tokens, kQoHeads, kDim]
// bf16; caches [slots, kKvHeads, kDim] bf16, of which only the rows in `slots` are written.
__global__ void __launch_bounds__(kThreads)
    rope_append(const Bf16* qkv, const float* cos_sin,
                const int* positions, const int* slots, Bf16* q, Bf16* k_cache, Bf16* v_cache,
                int tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const int row = blockIdx.x * kHeadsPerBlock + threadIdx.x / kLanes;
  const int at = threadIdx.x % kLanes * kWidth;
  if (row >= tokens * kHeads || at >= kHalf) return;
  const int token = row / kHeads, head = row % kHeads;
  fib::HeadPart<kHalf, kWidth> part;
  part.load_from(qkv + static_cast<size_t>(row) * kDim, at);

  const float* const turn_by = cos_sin + static_cast<size_t>(positions[token]) * kDim;
  if (head < kQoHeads) {
    part.turn(turn_by, at);
    part.store_to(q + (static_cast<size_t>(token) * kQoHeads + head) * kDim, at);
    return;
  }
  const bool is_key = head < kQoHeads + kKvHeads;
  if (is_key) part.turn(turn_by, at);
  const size_t slot = static_cast<size_t>(slots[token]) * kKvHeads + (head - kQoHeads) % kKvHeads;
  part.store_to((is_key ? k_cache : v_cache) + slot * kDim, at);
}
