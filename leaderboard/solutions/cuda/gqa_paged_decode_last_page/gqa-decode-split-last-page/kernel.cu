// Paged GQA decode. q and output [batch, heads, head dim] bf16; caches [pages, page size, kv heads,
// head dim] bf16; kv_indptr [batch + 1], kv_indices [num_kv_indices], kv_last_page_len [batch]
// int32; lse [batch, heads] and partial_lse [slots, heads] float32, base 2; partial_output [slots,
// heads, head dim] float32; slots [batch]. Grids and blocks as attention_decode.h says.

#include "shape.h"

using fib::Bf16;
using Rows = fib::PagedRows<FIB_AXIS_page_size>;
using Lengths = fib::PagedLengths<FIB_AXIS_page_size>;

// As the host cut the work.
__global__ void __launch_bounds__(Decode::kThreads)
    decode(const Bf16* __restrict__ q, const Bf16* __restrict__ k_cache,
           const Bf16* __restrict__ v_cache, const int* __restrict__ kv_indices,
           Bf16* __restrict__ output, float* __restrict__ lse, float* __restrict__ partial_output,
           float* __restrict__ partial_lse, float scale_log2, int first_slot,
           const __grid_constant__ fib::DecodeChunks chunks) {
  Decode::attend({q, k_cache, v_cache, output, lse, partial_output, partial_lse, scale_log2},
                 Rows{kv_indices}, chunks, first_slot);
}

__global__ void __launch_bounds__(Decode::kHeadDim)
    merge(const float* partial_output, const float* partial_lse, Bf16* output, float* lse,
          const __grid_constant__ fib::DecodeMerges merges) {
  Decode::merge(partial_output, partial_lse, output, lse, merges);
}

// Where only the device knows the lengths. With pages of one token kv_last_page_len isn't read.
__global__ void __launch_bounds__(Decode::kThreads)
    decode_live(const Bf16* __restrict__ q, const Bf16* __restrict__ k_cache,
                const Bf16* __restrict__ v_cache, const int* __restrict__ kv_indptr,
                const int* __restrict__ kv_indices, const int* __restrict__ kv_last_page_len,
                Bf16* __restrict__ output, float* __restrict__ lse,
                float* __restrict__ partial_output, float* __restrict__ partial_lse,
                int2* __restrict__ slots, float scale_log2, int batch, int places) {
  Decode::attend_live({q, k_cache, v_cache, output, lse, partial_output, partial_lse, scale_log2},
                      Rows{kv_indices}, Lengths{kv_indptr, kv_last_page_len}, slots, batch, places);
}

__global__ void __launch_bounds__(Decode::kHeadDim)
    merge_live(const float* partial_output, const float* partial_lse, Bf16* output, float* lse,
               const int2* slots) {
  Decode::merge_live(partial_output, partial_lse, output, lse, slots);
}
