// gqa_paged_decode, gqa_paged_prefill: grouped-query attention over a paged cache,
//   q [rows, heads, dim], k_cache and v_cache [pages, page_size, kv_heads, dim]
// gqa_ragged_prefill, mla_ragged_prefill: over keys and values laid end to end,
//   q [rows, heads, dim], k [kv_rows, kv_heads, dim], v [kv_rows, kv_heads, value_dim]

#include "reference/attention.h"
#include "reference/call.h"
#include "reference/registry.h"

namespace fib {
namespace {

// Sizes from the last two dimensions of queries, keys and values.
AttentionCall describe(const TensorSource& q, const TensorSource& k, const TensorSource& v,
                       const TensorSource& scale) {
  const auto from_end = [](const TensorSource& source, size_t i) {
    return source.desc().shape[source.desc().shape.size() - i];
  };
  AttentionCall attention;
  attention.num_heads = from_end(q, 2);
  attention.num_kv_heads = from_end(k, 2);
  attention.key_dim = from_end(k, 1);
  attention.value_dim = from_end(v, 1);
  attention.scale = scale.scalar();
  attention.read_query = [&q](int64_t row, std::span<float> out) { read_row(q, row, out); };
  return attention;
}

Result<ReferenceOutputs> paged(const ReferenceCall& call) {
  const TensorSource* q = FIB_TRY(need_input(call, "q"));
  const TensorSource* k = FIB_TRY(need_input(call, "k_cache"));
  const TensorSource* v = FIB_TRY(need_input(call, "v_cache"));
  const TensorSource* scale = FIB_TRY(need_input(call, "sm_scale"));
  const PageTable table = FIB_TRY(PageTable::read(call, *k));
  AttentionCall attention = describe(*q, *k, *v, *scale);
  attention.requests = FIB_TRY(paged_requests(call, table, q->desc().shape[0]));
  attention.read_kv = [&](int64_t request, int64_t position, std::span<float> keys,
                          std::span<float> values) {
    const int64_t row = table.row(request, position);
    read_row(*k, row, keys);
    read_row(*v, row, values);
  };
  return attend(call, attention);
}

Result<ReferenceOutputs> ragged(const ReferenceCall& call) {
  const TensorSource* q = FIB_TRY(need_input(call, "q"));
  const TensorSource* k = FIB_TRY(need_input(call, "k"));
  const TensorSource* v = FIB_TRY(need_input(call, "v"));
  const TensorSource* scale = FIB_TRY(need_input(call, "sm_scale"));
  const TensorSource* kv_indptr = FIB_TRY(need_input(call, "kv_indptr"));
  const std::vector<int64_t> first_row = read_integers(*kv_indptr);
  AttentionCall attention = describe(*q, *k, *v, *scale);
  attention.requests = FIB_TRY(ragged_requests(call, q->desc().shape[0]));
  attention.read_kv = [&](int64_t request, int64_t position, std::span<float> keys,
                          std::span<float> values) {
    read_row(*k, first_row[request] + position, keys);
    read_row(*v, first_row[request] + position, values);
  };
  return attend(call, attention);
}

}  // namespace

Result<ReferenceOutputs> gqa_paged_decode_reference(const ReferenceCall& call) {
  return paged(call);
}
Result<ReferenceOutputs> gqa_paged_prefill_reference(const ReferenceCall& call) {
  return paged(call);
}
Result<ReferenceOutputs> gqa_ragged_prefill_reference(const ReferenceCall& call) {
  return ragged(call);
}
// The expanded form of multi-head latent attention: plain heads, key_dim 192, value_dim 128.
Result<ReferenceOutputs> mla_ragged_prefill_reference(const ReferenceCall& call) {
  return ragged(call);
}

}  // namespace fib
