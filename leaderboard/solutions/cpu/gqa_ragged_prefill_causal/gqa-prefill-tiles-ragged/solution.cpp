// gqa_paged_prefill_causal, gqa_paged_prefill_causal_last_page and gqa_ragged_prefill_causal.
// q [total_q, num_qo_heads, head_dim] bf16; qo_indptr, kv_indptr [requests + 1] int32; sm_scale;
// keys and values either paged
//   k_cache, v_cache [num_pages, page_size, num_kv_heads, head_dim] bf16, kv_indices
//   [num_kv_indices] int32, and with pages of several tokens kv_last_page_len [requests] int32,
// or end to end
//   k, v [total_kv, num_kv_heads, head_dim] bf16
//   -> output [total_q, num_qo_heads, head_dim] bf16, lse [total_q, num_qo_heads] fp32, base 2.
//
// A task is a tile of a request's tokens and a KV head: about 64 rows share each block of keys. The
// same rows as gqa-decode-split, bit for bit.

#include <fib/cpu.h>
#include <fib/cpu/attention.h>

#include <algorithm>

namespace {

constexpr int kQoHeads = FIB_AXIS_num_qo_heads;
constexpr int kKvHeads = FIB_AXIS_num_kv_heads;
constexpr int kDim = FIB_AXIS_head_dim;
using Attention = fib::Attention<kQoHeads, kKvHeads, kDim>;

// Where the keys of a request lie.
#ifdef FIB_AXIS_page_size
struct Keys {
  static constexpr int64_t kPage = FIB_AXIS_page_size;
  const int32_t *indptr, *indices, *last_page_len;  // last_page_len: null with pages of one token

  explicit Keys(const FibCall& call)
      : indptr(static_cast<const int32_t*>(call.inputs[4].data)),
        indices(static_cast<const int32_t*>(call.inputs[5].data)),
        last_page_len(call.num_inputs == 8 ? static_cast<const int32_t*>(call.inputs[6].data)
                                           : nullptr) {}
  int64_t count(int64_t request) const {
    const int64_t pages = indptr[request + 1] - indptr[request];
    if (pages == 0 || last_page_len == nullptr) return pages * kPage;
    return (pages - 1) * kPage + last_page_len[request];
  }
  int64_t row(int64_t request, int64_t token) const {
    return indices[indptr[request] + token / kPage] * kPage + token % kPage;
  }
};
#else
struct Keys {
  const int32_t* indptr;

  explicit Keys(const FibCall& call) : indptr(static_cast<const int32_t*>(call.inputs[4].data)) {}
  int64_t count(int64_t request) const { return indptr[request + 1] - indptr[request]; }
  int64_t row(int64_t request, int64_t token) const { return indptr[request] + token; }
};
#endif

struct Work {
  const uint16_t *q, *k, *v;
  const int32_t* qo_indptr;
  Keys keys;
  float scale_log2;
  int64_t requests;
  int64_t* first_tile;  // [requests + 1]
  uint16_t* output;
  float* lse;

  int64_t queries(int64_t request) const { return qo_indptr[request + 1] - qo_indptr[request]; }
};

// Tasks: tiles * kKvHeads, heads innermost, the last tile first: it has the most to do.
void attend_tiles(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  const int64_t tiles = work.first_tile[work.requests];
  Attention::Row parts[Attention::kTileRows], totals[Attention::kTileRows];
  for (int64_t task = begin; task < end; ++task) {
    const int64_t index = tiles - 1 - task / kKvHeads, kv_head = task % kKvHeads;
    const int64_t* after =
        std::upper_bound(work.first_tile, work.first_tile + work.requests + 1, index);
    const int64_t request = after - work.first_tile - 1;
    const int64_t from = (index - work.first_tile[request]) * Attention::kTileTokens;
    const int64_t left = work.queries(request) - from;
    const int64_t first_row = (work.qo_indptr[request] + from) * kQoHeads;
    const int64_t first_head = kv_head * Attention::kGroup;
    const Attention::Tile tile = {
        .q = work.q + (first_row + first_head) * kDim,
        .tokens = static_cast<int>(std::min<int64_t>(left, Attention::kTileTokens)),
        .visible = work.keys.count(request) - left + 1,
        .k = work.k,
        .v = work.v,
        .scale_log2 = work.scale_log2};
    const auto locate = [&](int64_t token) {
      return (work.keys.row(request, token) * kKvHeads + kv_head) * kDim;
    };
    Attention::attend(tile, locate, parts, totals);
    for (int row = 0; row < tile.tokens * Attention::kGroup; ++row) {
      const int64_t to =
          first_row + row / Attention::kGroup * kQoHeads + first_head + row % Attention::kGroup;
      Attention::finish(totals[row], work.output + to * kDim, work.lse + to);
    }
  }
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return static_cast<size_t>(call->inputs[3].shape[0]) * sizeof(int64_t);
}

extern "C" int fib_run(const FibCall* call) {
  Work work = {
      .q = static_cast<const uint16_t*>(call->inputs[0].data),
      .k = static_cast<const uint16_t*>(call->inputs[1].data),
      .v = static_cast<const uint16_t*>(call->inputs[2].data),
      .qo_indptr = static_cast<const int32_t*>(call->inputs[3].data),
      .keys = Keys(*call),
      .scale_log2 = static_cast<float>(call->scalars[call->num_inputs - 1].f * 1.4426950408889634),
      .requests = call->inputs[3].shape[0] - 1,
      .first_tile = static_cast<int64_t*>(call->workspace),
      .output = static_cast<uint16_t*>(call->outputs[0].data),
      .lse = static_cast<float*>(call->outputs[1].data)};
  work.first_tile[0] = 0;
  for (int64_t r = 0; r < work.requests; ++r) {
    work.first_tile[r + 1] = work.first_tile[r] + (work.queries(r) + Attention::kTileTokens - 1) /
                                                      Attention::kTileTokens;
  }
  call->parallel_for(call, work.first_tile[work.requests] * kKvHeads, 1, attend_tiles, &work);
  return 0;
}
