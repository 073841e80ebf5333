// Causal GQA prefill over a paged cache. q and output [total_q, heads, head dim] bf16; caches
// [pages, page size, kv heads, head dim] bf16; kv_indices [num_kv_indices] int32; lse [total_q,
// heads] float32, base 2.

#include "shape.h"

using fib::Bf16;

// Grid: tiles x kv heads, block 32 * kWarps.
template <int kWarps>
__global__ void __launch_bounds__(32 * kWarps)
    prefill(const Bf16* __restrict__ q, const Bf16* __restrict__ k_cache,
            const Bf16* __restrict__ v_cache, const int* __restrict__ kv_indices,
            Bf16* __restrict__ output, float* __restrict__ lse, float scale_log2, int num_tiles,
            int num_requests, const __grid_constant__ fib::PrefillRequests requests) {
  Prefill::attend<kWarps>({q, k_cache, v_cache, output, lse, scale_log2},
                          fib::PagedRows<FIB_AXIS_page_size>{kv_indices}, num_tiles, num_requests,
                          requests);
}
