// moe_routing_softmax: the top_k experts of each token by logit, the lower one first of equals, and
// their softmax weights; with the parameter `renormalize` they sum to 1 over the chosen ones,
// without it over all experts.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "reference/call.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

template <class Policy>
void route_rows(const ReferenceCall& call, const TensorSource& logits, FloatBuffer& weights,
                FloatBuffer& ids) {
  using Real = typename Policy::Real;
  const int64_t experts = logits.desc().shape[1];
  const int64_t top_k = call.problem.outputs[0].shape[1];
  const bool renormalises = call.problem.signature->parameter("renormalize", 1) != 0;
  call.parallel_for(logits.desc().shape[0], [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(experts));
    std::vector<int64_t> order(row.size());
    for (int64_t r = begin; r < end; ++r) {
      read_row(logits, r, std::span<float>(row));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return row[a] > row[b]; });
      const auto likelihood = [&](int64_t place) {
        return std::exp(static_cast<Real>(row[order[place]]) - static_cast<Real>(row[order[0]]));
      };
      Real sum = 0;
      for (int64_t place = 0; place < (renormalises ? top_k : experts); ++place) {
        sum += likelihood(place);
      }
      for (int64_t k = 0; k < top_k; ++k) {
        weights[r * top_k + k] = static_cast<float>(likelihood(k) / sum);
        ids[r * top_k + k] = static_cast<float>(order[k]);
      }
    }
  });
}

}  // namespace

Result<ReferenceOutputs> moe_routing_softmax_reference(const ReferenceCall& call) {
  const TensorSource* logits = FIB_TRY(need_input(call, "logits"));
  ReferenceOutputs outputs = make_outputs(call.problem);
  with_precision(call.precision, [&](auto policy) {
    route_rows<decltype(policy)>(call, *logits, outputs[0], outputs[1]);
  });
  return outputs;
}

}  // namespace fib
