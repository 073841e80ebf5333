// mla_paged_decode, mla_paged_prefill: multi-head latent attention in its absorbed form. A cache
// row is [ckv | kpe]; logit = sm_scale * (q_nope . ckv + q_pe . kpe), output = sum of p * ckv. That
// is multi-query attention with keys [ckv | kpe] and values ckv.
//   q_nope [rows, heads, ckv], q_pe [rows, heads, kpe], ckv_cache [pages, page_size, ckv],
//   kpe_cache [pages, page_size, kpe]

#include "reference/attention.h"
#include "reference/call.h"
#include "reference/registry.h"

namespace fib {
namespace {

Result<ReferenceOutputs> absorbed(const ReferenceCall& call) {
  const TensorSource* q_nope = FIB_TRY(need_input(call, "q_nope"));
  const TensorSource* q_pe = FIB_TRY(need_input(call, "q_pe"));
  const TensorSource* ckv = FIB_TRY(need_input(call, "ckv_cache"));
  const TensorSource* kpe = FIB_TRY(need_input(call, "kpe_cache"));
  const TensorSource* scale = FIB_TRY(need_input(call, "sm_scale"));
  const PageTable table = FIB_TRY(PageTable::read(call, *ckv));

  AttentionCall attention;
  const auto latent = static_cast<size_t>(ckv->desc().shape.back());
  const auto rope = static_cast<size_t>(kpe->desc().shape.back());
  attention.num_heads = q_nope->desc().shape[1];
  attention.num_kv_heads = 1;
  attention.key_dim = static_cast<int64_t>(latent + rope);
  attention.value_dim = static_cast<int64_t>(latent);
  attention.scale = scale->scalar();
  attention.requests = FIB_TRY(paged_requests(call, table, q_nope->desc().shape[0]));
  attention.read_query = [&](int64_t row, std::span<float> out) {
    for (int64_t head = 0; head < attention.num_heads; ++head) {
      const std::span<float> query = out.subspan(head * (latent + rope), latent + rope);
      read_row(*q_nope, row * attention.num_heads + head, query.first(latent));
      read_row(*q_pe, row * attention.num_heads + head, query.last(rope));
    }
  };
  attention.read_kv = [&](int64_t request, int64_t position, std::span<float> keys,
                          std::span<float> values) {
    const int64_t row = table.row(request, position);
    read_row(*ckv, row, values);
    std::copy(values.begin(), values.end(), keys.begin());
    read_row(*kpe, row, keys.last(rope));
  };
  return attend(call, attention);
}

}  // namespace

Result<ReferenceOutputs> mla_paged_decode_reference(const ReferenceCall& call) {
  return absorbed(call);
}
Result<ReferenceOutputs> mla_paged_prefill_reference(const ReferenceCall& call) {
  return absorbed(call);
}

}  // namespace fib
