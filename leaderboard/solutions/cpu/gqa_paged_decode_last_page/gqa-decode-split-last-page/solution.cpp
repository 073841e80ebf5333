// gqa_paged_decode_last_page: one query token a request against a paged cache.
// q [batch_size, num_qo_heads, head_dim] bf16; k_cache, v_cache [num_pages, page_size,
// num_kv_heads, head_dim] bf16; kv_indptr [batch_size + 1], kv_indices [num_kv_indices],
// kv_last_page_len [batch_size] int32; sm_scale
//   -> output [batch_size, num_qo_heads, head_dim] bf16, lse [batch_size, num_qo_heads] fp32,
//   base 2.
//
// The same rows as gqa-prefill-tiles, bit for bit.

#include <fib/cpu/attention_calls.h>

namespace {

constexpr int64_t kPage = FIB_AXIS_page_size;
using Keys = fib::PagedKeys<kPage>;
using Decode =
    fib::DecodeCall<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads, FIB_AXIS_head_dim, Keys>;

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return Decode::workspace_bytes(*call, call->inputs[4].shape[0] * kPage);
}

extern "C" int fib_run(const FibCall* call) {
  Decode(*call, Keys(call->inputs[3], call->inputs[4], call->inputs[5])).run();
  return 0;
}
