// gqa_paged_decode and gqa_paged_decode_last_page: one query token a request against a paged cache.
// q [batch_size, num_qo_heads, head_dim] bf16; k_cache, v_cache [num_pages, page_size,
// num_kv_heads, head_dim] bf16; kv_indptr [batch_size + 1], kv_indices [num_kv_indices] int32, and
// with pages of several tokens kv_last_page_len [batch_size] int32; sm_scale
//   -> output [batch_size, num_qo_heads, head_dim] bf16, lse [batch_size, num_qo_heads] fp32,
//   base 2.
//
// A task is a run of a request's keys and a KV head, so that one long request keeps all threads
// busy; a second sweep merges the runs of requests that have several. The same rows as
// gqa-prefill-tiles, bit for bit.

#include <fib/cpu.h>
#include <fib/cpu/attention.h>

#include <algorithm>

namespace {

constexpr int kQoHeads = FIB_AXIS_num_qo_heads;
constexpr int kKvHeads = FIB_AXIS_num_kv_heads;
constexpr int kDim = FIB_AXIS_head_dim;
constexpr int64_t kPage = FIB_AXIS_page_size;
using Attention = fib::Attention<kQoHeads, kKvHeads, kDim>;
using Row = Attention::Row;
constexpr int kGroup = Attention::kGroup;
constexpr int64_t kRun = Attention::kRun;

struct Work {
  const uint16_t *q, *k, *v;
  const int32_t *indptr, *indices, *last_page_len;  // last_page_len: null with pages of one token
  float scale_log2;
  int64_t batch;
  int64_t* first_run;  // [batch + 1]
  Row* parts;          // [runs, kQoHeads]
  uint16_t* output;
  float* lse;

  int64_t tokens(int64_t request) const {
    const int64_t pages = indptr[request + 1] - indptr[request];
    if (pages == 0 || last_page_len == nullptr) return pages * kPage;
    return (pages - 1) * kPage + last_page_len[request];
  }
  // At least 1: a request without keys has an empty run.
  int64_t runs(int64_t request) const { return first_run[request + 1] - first_run[request]; }
};

// One query head's output from all runs of its request, `stride` rows apart.
void finish(const Work& work, int64_t query_head, const Row* parts, int64_t runs, int64_t stride) {
  Row total;
  Attention::clear(&total, 1);
  for (int64_t run = 0; run < runs; ++run) Attention::merge(&total, parts + run * stride, 1);
  Attention::finish(total, work.output + query_head * kDim, work.lse + query_head);
}

// Tasks: runs * kKvHeads, heads innermost.
void attend_runs(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t run = task / kKvHeads, head = task % kKvHeads;
    const int64_t* after = std::upper_bound(work.first_run, work.first_run + work.batch + 1, run);
    const int64_t request = after - work.first_run - 1;
    const int32_t* pages = work.indices + work.indptr[request];
    const auto locate = [&](int64_t token) {
      return ((pages[token / kPage] * kPage + token % kPage) * kKvHeads + head) * kDim;
    };
    const Attention::Tile tile = {.q = work.q + (request * kQoHeads + head * kGroup) * kDim,
                                  .tokens = 1,
                                  .visible = work.tokens(request),
                                  .k = work.k,
                                  .v = work.v,
                                  .scale_log2 = work.scale_log2};
    Row* parts = work.parts + run * kQoHeads + head * kGroup;
    Attention::clear(parts, kGroup);
    Attention::attend_run(tile, (run - work.first_run[request]) * kRun, locate, parts);
    if (work.runs(request) > 1) continue;
    for (int64_t g = 0; g < kGroup; ++g)
      finish(work, request * kQoHeads + head * kGroup + g, parts + g, 1, kQoHeads);
  }
}

// Tasks: batch * kQoHeads.
void merge_runs(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t request = task / kQoHeads, runs = work.runs(request);
    const Row* parts = work.parts + work.first_run[request] * kQoHeads + task % kQoHeads;
    if (runs > 1) finish(work, task, parts, runs, kQoHeads);
  }
}

size_t runs_bytes(int64_t batch) {
  return (static_cast<size_t>(batch + 1) * sizeof(int64_t) + 63) / 64 * 64;
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  const int64_t batch = call->inputs[0].shape[0];
  const int64_t most_runs = call->inputs[4].shape[0] * kPage / kRun + batch;
  return runs_bytes(batch) + static_cast<size_t>(most_runs * kQoHeads) * sizeof(Row);
}

extern "C" int fib_run(const FibCall* call) {
  const bool has_last_page_len = call->num_inputs == 7;
  Work work{};
  work.q = static_cast<const uint16_t*>(call->inputs[0].data);
  work.k = static_cast<const uint16_t*>(call->inputs[1].data);
  work.v = static_cast<const uint16_t*>(call->inputs[2].data);
  work.indptr = static_cast<const int32_t*>(call->inputs[3].data);
  work.indices = static_cast<const int32_t*>(call->inputs[4].data);
  if (has_last_page_len) work.last_page_len = static_cast<const int32_t*>(call->inputs[5].data);
  work.scale_log2 = static_cast<float>(call->scalars[call->num_inputs - 1].f * 1.4426950408889634);
  work.batch = call->inputs[0].shape[0];
  work.first_run = static_cast<int64_t*>(call->workspace);
  work.parts = reinterpret_cast<Row*>(static_cast<char*>(call->workspace) + runs_bytes(work.batch));
  work.output = static_cast<uint16_t*>(call->outputs[0].data);
  work.lse = static_cast<float*>(call->outputs[1].data);

  work.first_run[0] = 0;
  for (int64_t r = 0; r < work.batch; ++r) {
    const int64_t runs = (work.tokens(r) + kRun - 1) / kRun;
    work.first_run[r + 1] = work.first_run[r] + std::max<int64_t>(runs, 1);
  }
  const int64_t runs = work.first_run[work.batch];
  call->parallel_for(call, runs * kKvHeads, 1, attend_runs, &work);
  if (runs > work.batch) call->parallel_for(call, work.batch * kQoHeads, 16, merge_runs, &work);
  return 0;
}
