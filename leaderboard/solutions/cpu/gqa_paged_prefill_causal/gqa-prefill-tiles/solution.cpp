// gqa_paged_prefill_causal, pages of one token.
// q [total_q, num_qo_heads, head_dim] bf16; k_cache, v_cache [num_pages, page_size, num_kv_heads,
// head_dim] bf16; qo_indptr, kv_indptr [requests + 1], kv_indices [num_kv_indices] int32; sm_scale
//   -> output [total_q, num_qo_heads, head_dim] bf16, lse [total_q, num_qo_heads] fp32, base 2.
//
// The same rows as gqa-decode-split, bit for bit.

#include <fib/cpu/attention_calls.h>

namespace {

using Keys = fib::PagedKeys<FIB_AXIS_page_size>;
using Prefill =
    fib::PrefillCall<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads, FIB_AXIS_head_dim, Keys>;

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return Prefill::workspace_bytes(*call);
}

extern "C" int fib_run(const FibCall* call) {
  Prefill(*call, Keys(call->inputs[4], call->inputs[5])).run();
  return 0;
}
