#pragma once

// What every attention reference shares. All are causal with the last query on the last key
// (bottom-right): query i of a request sees keys up to kv_length - query_count + i. Decode is the
// case of one query a request.

#include <functional>
#include <span>
#include <vector>

#include "reference/reference.h"

namespace fib {

struct AttentionRequest {
  int64_t first_query = 0;  // row of the queries and of the output
  int64_t query_count = 0;
  int64_t kv_length = 0;
};

struct AttentionCall {
  int64_t num_heads = 0;     // of queries and output
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  double scale = 1.0;  // of the logits
  std::vector<AttentionRequest> requests;
  // [num_heads, key_dim] of one query row.
  std::function<void(int64_t row, std::span<float> out)> read_query;
  // [num_kv_heads, key_dim] and [num_kv_heads, value_dim] at one position of a request.
  std::function<void(int64_t request, int64_t position, std::span<float> keys,
                     std::span<float> values)>
      read_kv;
};

// outputs[0]: [rows, num_heads, value_dim]. outputs[1], if there is one: [rows, num_heads], the
// base-2 log-sum-exp of the scaled logits. A query that sees no key gives 0 and -inf.
ReferenceOutputs attend(const ReferenceCall& call, const AttentionCall& attention);

// Requests of a ragged batch. Without query offsets each request has one query, in row order.
Result<std::vector<AttentionRequest>> ragged_requests(const ReferenceCall& call,
                                                      int64_t num_queries);

// A paged KV cache: where position p of a request lies.
class PageTable {
 public:
  // From kv_indptr, kv_indices and kv_last_page_len (or last_page_len; without it pages are full).
  // `cache` is [num_pages, page_size, ..]. Refuses offsets and ids out of range.
  static Result<PageTable> read(const ReferenceCall& call, const TensorSource& cache);

  int64_t num_requests() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t length(int64_t request) const { return lengths_[request]; }
  // Row of the cache seen as [num_pages * page_size, ..].
  int64_t row(int64_t request, int64_t position) const {
    return pages_[offsets_[request] + position / page_size_] * page_size_ + position % page_size_;
  }

 private:
  int64_t page_size_ = 1;
  std::vector<int64_t> offsets_;
  std::vector<int64_t> pages_;
  std::vector<int64_t> lengths_;
};

// The requests of a paged batch: query lengths from qo_indptr, or one query each.
Result<std::vector<AttentionRequest>> paged_requests(const ReferenceCall& call,
                                                     const PageTable& table, int64_t num_queries);

}  // namespace fib
