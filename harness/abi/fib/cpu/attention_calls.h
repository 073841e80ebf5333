#pragma once

// Whole attention calls for `cpu` solutions, prefill and decode, over keys that lie anywhere: the
// work is cut into tasks for the caller's threads, the rows are attention.h's, so both give the
// same bits for a row. A solution names its sizes and says where keys are:
//
//   using Keys = fib::PagedKeys<FIB_AXIS_page_size>;
//   using Prefill = fib::PrefillCall<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads,
//                                    FIB_AXIS_head_dim, Keys>;
//   extern "C" size_t fib_workspace_bytes(const FibCall* call) {
//     return Prefill::workspace_bytes(*call);
//   }
//   extern "C" int fib_run(const FibCall* call) {
//     Prefill(*call, Keys(call->inputs[4], call->inputs[5])).run();
//     return 0;
//   }
//
// Operands, as the families gqa_* have them:
//   input 0: q [queries, kQoHeads, kDim] bf16
//   inputs 1 and 2: keys and values [rows.., kKvHeads, kDim] bf16
//   the last input: the scale of the logits, a host scalar
//   outputs: [queries, kQoHeads, kDim] bf16; lse [queries, kQoHeads] fp32, base 2
// A query that sees no key gives 0 and -inf.

#include <fib/cpu.h>
#include <fib/cpu/attention.h>

#include <algorithm>

namespace fib {

// Where keys and values are. What a class of keys has:
//   int64_t count(int64_t request) const;  how many the request has
//   auto rows(int64_t request) const;      a function from a key's position to its row, counted in
//                                          [kKvHeads, kDim] from the start of inputs 1 and 2

// In pages of kPage tokens: keys and values [pages, kPage, kKvHeads, kDim].
template <int64_t kPage>
class PagedKeys {
 public:
  // kv_indptr [requests + 1], kv_indices [num_kv_indices] int32; all pages are full.
  PagedKeys(const FibTensor& indptr, const FibTensor& indices)
      : indptr_(static_cast<const int32_t*>(indptr.data)),
        indices_(static_cast<const int32_t*>(indices.data)) {}
  // kv_last_page_len [requests] int32: what a request's last page holds.
  PagedKeys(const FibTensor& indptr, const FibTensor& indices, const FibTensor& last_page_len)
      : PagedKeys(indptr, indices) {
    last_page_len_ = static_cast<const int32_t*>(last_page_len.data);
  }

  int64_t count(int64_t request) const {
    const int64_t pages = indptr_[request + 1] - indptr_[request];
    if (pages == 0 || last_page_len_ == nullptr) return pages * kPage;
    return (pages - 1) * kPage + last_page_len_[request];
  }
  auto rows(int64_t request) const {
    return [pages = indices_ + indptr_[request]](int64_t token) {
      return pages[token / kPage] * kPage + token % kPage;
    };
  }

 private:
  const int32_t *indptr_, *indices_;
  const int32_t* last_page_len_ = nullptr;
};

// End to end: keys and values [total_kv, kKvHeads, kDim].
class RaggedKeys {
 public:
  // kv_indptr [requests + 1] int32.
  explicit RaggedKeys(const FibTensor& indptr)
      : indptr_(static_cast<const int32_t*>(indptr.data)) {}

  int64_t count(int64_t request) const { return indptr_[request + 1] - indptr_[request]; }
  auto rows(int64_t request) const {
    return [first = int64_t{indptr_[request]}](int64_t token) { return first + token; };
  }

 private:
  const int32_t* indptr_;
};

struct AttentionOperands {
  const uint16_t *q, *k, *v;
  float scale_log2;
  uint16_t* output;
  float* lse;

  explicit AttentionOperands(const FibCall& call)
      : q(static_cast<const uint16_t*>(call.inputs[0].data)),
        k(static_cast<const uint16_t*>(call.inputs[1].data)),
        v(static_cast<const uint16_t*>(call.inputs[2].data)),
        scale_log2(static_cast<float>(call.scalars[call.num_inputs - 1].f * 1.4426950408889634)),
        output(static_cast<uint16_t*>(call.outputs[0].data)),
        lse(static_cast<float*>(call.outputs[1].data)) {}
};

// Causal prefill; a request's last query sees all of its keys. Input 3 is qo_indptr [requests + 1]
// int32. A task is a tile of a request's queries and a KV head: about 64 rows share each block of
// keys.
template <int kQoHeads, int kKvHeads, int kDim, class Keys>
class PrefillCall {
 public:
  PrefillCall(const FibCall& call, const Keys& keys)
      : call_(call),
        operands_(call),
        keys_(keys),
        qo_indptr_(static_cast<const int32_t*>(call.inputs[3].data)),
        requests_(call.inputs[3].shape[0] - 1),
        first_tile_(static_cast<int64_t*>(call.workspace)) {}

  static size_t workspace_bytes(const FibCall& call) {
    return static_cast<size_t>(call.inputs[3].shape[0]) * sizeof(int64_t);
  }

  void run() {
    first_tile_[0] = 0;
    for (int64_t r = 0; r < requests_; ++r) {
      const int64_t tiles = (queries(r) + Rows::kTileTokens - 1) / Rows::kTileTokens;
      first_tile_[r + 1] = first_tile_[r] + tiles;
    }
    call_.parallel_for(&call_, first_tile_[requests_] * kKvHeads, 1, attend_tiles, this);
  }

 private:
  using Rows = Attention<kQoHeads, kKvHeads, kDim>;
  using Row = typename Rows::Row;

  int64_t queries(int64_t request) const { return qo_indptr_[request + 1] - qo_indptr_[request]; }

  // Tasks: tiles * kKvHeads, heads innermost, the last tile first: it has the most to do.
  static void attend_tiles(int64_t begin, int64_t end, void* context) {
    const PrefillCall& prefill = *static_cast<const PrefillCall*>(context);
    const int64_t tiles = prefill.first_tile_[prefill.requests_];
    Row parts[Rows::kTileRows], totals[Rows::kTileRows];
    for (int64_t task = begin; task < end; ++task)
      prefill.attend_tile(tiles - 1 - task / kKvHeads, task % kKvHeads, parts, totals);
  }

  void attend_tile(int64_t index, int64_t kv_head, Row* parts, Row* totals) const {
    const int64_t* after = std::upper_bound(first_tile_, first_tile_ + requests_ + 1, index);
    const int64_t request = after - first_tile_ - 1;
    const int64_t from = (index - first_tile_[request]) * Rows::kTileTokens;
    const int64_t left = queries(request) - from;
    const int64_t first_row = (qo_indptr_[request] + from) * kQoHeads;
    const int64_t first_head = kv_head * Rows::kGroup;
    const typename Rows::Tile tile = {
        .q = operands_.q + (first_row + first_head) * kDim,
        .tokens = static_cast<int>(std::min<int64_t>(left, Rows::kTileTokens)),
        .visible = keys_.count(request) - left + 1,
        .k = operands_.k,
        .v = operands_.v,
        .scale_log2 = operands_.scale_log2};
    const auto locate = [row = keys_.rows(request), kv_head](int64_t token) {
      return (row(token) * kKvHeads + kv_head) * kDim;
    };
    Rows::attend(tile, locate, parts, totals);
    for (int row = 0; row < tile.tokens * Rows::kGroup; ++row) {
      const int64_t to =
          first_row + row / Rows::kGroup * kQoHeads + first_head + row % Rows::kGroup;
      Rows::finish(totals[row], operands_.output + to * kDim, operands_.lse + to);
    }
  }

  const FibCall& call_;
  const AttentionOperands operands_;
  const Keys keys_;
  const int32_t* const qo_indptr_;
  const int64_t requests_;
  int64_t* const first_tile_;  // [requests + 1]
};

// Decode: one query a request. A task is a run of a request's keys and a KV head, so that one long
// request keeps all threads busy; a second sweep merges the runs of requests that have several.
template <int kQoHeads, int kKvHeads, int kDim, class Keys>
class DecodeCall {
 public:
  DecodeCall(const FibCall& call, const Keys& keys)
      : call_(call),
        operands_(call),
        keys_(keys),
        batch_(call.inputs[0].shape[0]),
        first_run_(static_cast<int64_t*>(call.workspace)),
        parts_(reinterpret_cast<Row*>(static_cast<char*>(call.workspace) + runs_bytes(batch_))) {}

  // most_keys: that all requests together can have.
  static size_t workspace_bytes(const FibCall& call, int64_t most_keys) {
    const int64_t batch = call.inputs[0].shape[0];
    const int64_t most_runs = most_keys / kRun + batch;
    return runs_bytes(batch) + static_cast<size_t>(most_runs * kQoHeads) * sizeof(Row);
  }

  void run() {
    first_run_[0] = 0;
    for (int64_t r = 0; r < batch_; ++r) {
      const int64_t runs = (keys_.count(r) + kRun - 1) / kRun;
      first_run_[r + 1] = first_run_[r] + std::max<int64_t>(runs, 1);
    }
    const int64_t runs = first_run_[batch_];
    call_.parallel_for(&call_, runs * kKvHeads, 1, attend_runs, this);
    if (runs > batch_) call_.parallel_for(&call_, batch_ * kQoHeads, 16, merge_runs, this);
  }

 private:
  using Rows = Attention<kQoHeads, kKvHeads, kDim>;
  using Row = typename Rows::Row;
  static constexpr int kGroup = Rows::kGroup;
  static constexpr int64_t kRun = Rows::kRun;

  static size_t runs_bytes(int64_t batch) {
    return (static_cast<size_t>(batch + 1) * sizeof(int64_t) + 63) / 64 * 64;
  }
  // At least 1: a request without keys has an empty run.
  int64_t runs(int64_t request) const { return first_run_[request + 1] - first_run_[request]; }

  // Tasks: runs * kKvHeads, heads innermost.
  static void attend_runs(int64_t begin, int64_t end, void* context) {
    const DecodeCall& decode = *static_cast<const DecodeCall*>(context);
    for (int64_t task = begin; task < end; ++task)
      decode.attend_run(task / kKvHeads, task % kKvHeads);
  }

  void attend_run(int64_t run, int64_t head) const {
    const int64_t* after = std::upper_bound(first_run_, first_run_ + batch_ + 1, run);
    const int64_t request = after - first_run_ - 1;
    const int64_t query_head = request * kQoHeads + head * kGroup;
    const typename Rows::Tile tile = {.q = operands_.q + query_head * kDim,
                                      .tokens = 1,
                                      .visible = keys_.count(request),
                                      .k = operands_.k,
                                      .v = operands_.v,
                                      .scale_log2 = operands_.scale_log2};
    const auto locate = [row = keys_.rows(request), head](int64_t token) {
      return (row(token) * kKvHeads + head) * kDim;
    };
    Row* const parts = parts_ + run * kQoHeads + head * kGroup;
    Rows::clear(parts, kGroup);
    Rows::attend_run(tile, (run - first_run_[request]) * kRun, locate, parts);
    if (runs(request) > 1) return;
    for (int64_t g = 0; g < kGroup; ++g) finish(query_head + g, parts + g, 1);
  }

  // Tasks: batch * kQoHeads.
  static void merge_runs(int64_t begin, int64_t end, void* context) {
    const DecodeCall& decode = *static_cast<const DecodeCall*>(context);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t request = task / kQoHeads, runs = decode.runs(request);
      const Row* parts = decode.parts_ + decode.first_run_[request] * kQoHeads + task % kQoHeads;
      if (runs > 1) decode.finish(task, parts, runs);
    }
  }

  // One query head's output from its parts of all runs of its request, kQoHeads rows apart.
  void finish(int64_t query_head, const Row* parts, int64_t runs) const {
    Row total;
    Rows::clear(&total, 1);
    for (int64_t run = 0; run < runs; ++run) Rows::merge(&total, parts + run * kQoHeads, 1);
    Rows::finish(total, operands_.output + query_head * kDim, operands_.lse + query_head);
  }

  const FibCall& call_;
  const AttentionOperands operands_;
  const Keys keys_;
  const int64_t batch_;
  int64_t* const first_run_;  // [batch + 1]
  Row* const parts_;          // [runs, kQoHeads]
};

}  // namespace fib
