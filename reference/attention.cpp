#include "reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "reference/call.h"
#include "reference/precision.h"

namespace fib {
namespace {

// Keys and values of one request in plain rows: [position, kv_head, dim].
struct KeysAndValues {
  std::vector<float> keys;
  std::vector<float> values;
};

void load_request(const ReferenceCall& call, const AttentionCall& attention, int64_t request,
                  KeysAndValues& kv) {
  const int64_t length = attention.requests[request].kv_length;
  const int64_t key_width = attention.num_kv_heads * attention.key_dim;
  const int64_t value_width = attention.num_kv_heads * attention.value_dim;
  kv.keys.resize(static_cast<size_t>(length * key_width));
  kv.values.resize(static_cast<size_t>(length * value_width));
  call.parallel_for(length, [&](int64_t begin, int64_t end) {
    for (int64_t position = begin; position < end; ++position) {
      attention.read_kv(
          request, position,
          std::span<float>(&kv.keys[position * key_width], static_cast<size_t>(key_width)),
          std::span<float>(&kv.values[position * value_width], static_cast<size_t>(value_width)));
    }
  });
}

// One query head over its first `visible` keys. Returns the base-2 log-sum-exp.
template <class Real>
Real attend_head(const AttentionCall& attention, const KeysAndValues& kv, int64_t kv_head,
                 int64_t visible, const Real* query, std::span<Real> output) {
  const int64_t key_width = attention.num_kv_heads * attention.key_dim;
  const int64_t value_width = attention.num_kv_heads * attention.value_dim;
  std::fill(output.begin(), output.end(), Real{0});
  if (visible <= 0) return -std::numeric_limits<Real>::infinity();

  std::vector<Real> weights(static_cast<size_t>(visible));
  Real highest = -std::numeric_limits<Real>::infinity();
  for (int64_t p = 0; p < visible; ++p) {
    const float* key = &kv.keys[p * key_width + kv_head * attention.key_dim];
    weights[p] = dot(query, key, attention.key_dim) * static_cast<Real>(attention.scale);
    // A NaN logit must reach the output, so it may not lose the comparison.
    if (weights[p] > highest || std::isnan(weights[p])) highest = weights[p];
  }
  Real sum = 0;
  for (Real& weight : weights) sum += weight = std::exp(weight - highest);
  for (int64_t p = 0; p < visible; ++p) {
    const float* value = &kv.values[p * value_width + kv_head * attention.value_dim];
    add_scaled(output.data(), weights[p], value, attention.value_dim);
  }
  for (Real& value : output) value /= sum;
  return highest * std::numbers::log2e_v<Real> + std::log2(sum);
}

template <class Policy>
void attend_request(const ReferenceCall& call, const AttentionCall& attention,
                    const AttentionRequest& request, const KeysAndValues& kv,
                    ReferenceOutputs& outputs) {
  using Real = typename Policy::Real;
  const int64_t heads = attention.num_heads, value_dim = attention.value_dim;
  const int64_t group = heads / attention.num_kv_heads;
  // One task a query and head; tasks of one query are neighbours.
  call.parallel_for(request.query_count * heads, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(heads * attention.key_dim));
    std::vector<Real> query(row.size());
    std::vector<Real> result(static_cast<size_t>(value_dim));
    int64_t loaded = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t q = task / heads, head = task % heads;
      const int64_t output_row = request.first_query + q;
      if (q != loaded) {
        attention.read_query(output_row, row);
        std::copy(row.begin(), row.end(), query.begin());
        loaded = q;
      }
      const int64_t visible =
          std::min(request.kv_length, request.kv_length - request.query_count + q + 1);
      const Real lse = attend_head(attention, kv, head / group, visible,
                                   &query[head * attention.key_dim], std::span<Real>(result));
      const std::span<float> out(&outputs[0][(output_row * heads + head) * value_dim],
                                 static_cast<size_t>(value_dim));
      std::transform(result.begin(), result.end(), out.begin(),
                     [](Real value) { return static_cast<float>(value); });
      Policy::round(call.problem.outputs[0].dtype, out);
      if (outputs.size() > 1) outputs[1][output_row * heads + head] = static_cast<float>(lse);
    }
  });
}

Result<std::vector<int64_t>> read_offsets(const TensorSource& source, int64_t limit) {
  std::vector<int64_t> offsets = read_integers(source);
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] < (i == 0 ? 0 : offsets[i - 1]) || offsets[i] > limit) {
      return fail(
          ErrorCode::kInvalidInput,
          "offset " + std::to_string(offsets[i]) + " falls back or passes " + std::to_string(limit),
          source.desc().name + "[" + std::to_string(i) + "]");
    }
  }
  return offsets;
}

// Query offsets; 0, 1, 2, ... where the signature has none.
Result<std::vector<int64_t>> query_offsets(const ReferenceCall& call, int64_t num_queries) {
  if (const TensorSource* given = find_input(call, "qo_indptr")) {
    return read_offsets(*given, num_queries);
  }
  std::vector<int64_t> offsets(static_cast<size_t>(num_queries) + 1);
  for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<int64_t>(i);
  return offsets;
}

Result<std::vector<AttentionRequest>> pair_up(const std::vector<int64_t>& queries,
                                              const std::vector<int64_t>& kv_lengths) {
  if (queries.size() != kv_lengths.size() + 1) {
    return fail(ErrorCode::kInvalidInput,
                std::to_string(queries.size() - 1) + " requests in the queries, " +
                    std::to_string(kv_lengths.size()) + " in kv_indptr",
                "kv_indptr");
  }
  std::vector<AttentionRequest> requests;
  for (size_t i = 0; i < kv_lengths.size(); ++i) {
    requests.push_back({queries[i], queries[i + 1] - queries[i], kv_lengths[i]});
  }
  return requests;
}

}  // namespace

ReferenceOutputs attend(const ReferenceCall& call, const AttentionCall& attention) {
  ReferenceOutputs outputs = make_outputs(call.problem);
  // Rows that no request claims: nothing seen.
  if (outputs.size() > 1) {
    std::fill(outputs[1].begin(), outputs[1].end(), -std::numeric_limits<float>::infinity());
  }
  KeysAndValues kv;
  for (size_t i = 0; i < attention.requests.size(); ++i) {
    load_request(call, attention, static_cast<int64_t>(i), kv);
    with_precision(call.precision, [&](auto policy) {
      attend_request<decltype(policy)>(call, attention, attention.requests[i], kv, outputs);
    });
  }
  return outputs;
}

Result<std::vector<AttentionRequest>> ragged_requests(const ReferenceCall& call,
                                                      int64_t num_queries) {
  const TensorSource* kv_indptr = FIB_TRY(need_input(call, "kv_indptr"));
  const TensorSource* keys = FIB_TRY(need_input(call, "k"));
  const std::vector<int64_t> kv = FIB_TRY(read_offsets(*kv_indptr, keys->desc().shape[0]));
  std::vector<int64_t> lengths;
  for (size_t i = 1; i < kv.size(); ++i) lengths.push_back(kv[i] - kv[i - 1]);
  const std::vector<int64_t> queries = FIB_TRY(query_offsets(call, num_queries));
  return pair_up(queries, lengths);
}

Result<std::vector<AttentionRequest>> paged_requests(const ReferenceCall& call,
                                                     const PageTable& table, int64_t num_queries) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < table.num_requests(); ++i) lengths.push_back(table.length(i));
  const std::vector<int64_t> queries = FIB_TRY(query_offsets(call, num_queries));
  return pair_up(queries, lengths);
}

Result<PageTable> PageTable::read(const ReferenceCall& call, const TensorSource& cache) {
  const TensorSource* indptr = FIB_TRY(need_input(call, "kv_indptr"));
  const TensorSource* indices = FIB_TRY(need_input(call, "kv_indices"));
  const int64_t num_pages = cache.desc().shape[0];
  PageTable table;
  table.page_size_ = cache.desc().shape[1];
  table.pages_ = read_integers(*indices);
  table.offsets_ = FIB_TRY(read_offsets(*indptr, static_cast<int64_t>(table.pages_.size())));
  for (size_t i = 0; i < table.pages_.size(); ++i) {
    if (table.pages_[i] < 0 || table.pages_[i] >= num_pages) {
      return fail(ErrorCode::kInvalidInput,
                  "page " + std::to_string(table.pages_[i]) + " of " + std::to_string(num_pages),
                  indices->desc().name + "[" + std::to_string(i) + "]");
    }
  }

  const TensorSource* last = find_input(call, "kv_last_page_len");
  if (!last) last = find_input(call, "last_page_len");
  const std::vector<int64_t> in_last = last ? read_integers(*last) : std::vector<int64_t>();
  for (size_t i = 1; i < table.offsets_.size(); ++i) {
    const int64_t pages = table.offsets_[i] - table.offsets_[i - 1];
    const int64_t tokens = last ? in_last[i - 1] : table.page_size_;
    if (pages > 0 && (tokens < 1 || tokens > table.page_size_)) {
      return fail(
          ErrorCode::kInvalidInput,
          std::to_string(tokens) + " tokens in a page of " + std::to_string(table.page_size_),
          last->desc().name + "[" + std::to_string(i - 1) + "]");
    }
    table.lengths_.push_back(pages == 0 ? 0 : (pages - 1) * table.page_size_ + tokens);
  }
  return table;
}

}  // namespace fib
