// Causal GQA prefill over keys and values laid end to end. q and output [total_q, heads, head dim]
// bf16; k and v [total_kv, kv heads, head dim] bf16; lse [total_q, heads] float32, base 2.

#include "shape.h"

using fib::Bf16;

// Grid: tiles x kv heads, block 32 * kWarps.
template <int kWarps>
__global__ void __launch_bounds__(32 * kWarps)
    prefill(const Bf16* __restrict__ q, const Bf16* __restrict__ k, const Bf16* __restrict__ v,
            Bf16* __restrict__ output, float* __restrict__ lse, float scale_log2, int num_tiles,
            int num_requests, const __grid_constant__ fib::PrefillRequests requests) {
  Prefill::attend<kWarps>({q, k, v, output, lse, scale_log2}, fib::RaggedRows{}, num_tiles,
                          num_requests, requests);
}
