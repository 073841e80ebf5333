// moe_routing_softmax: the top_k largest logits of each row, of equal ones the lower expert first,
// and their softmax weights. logits [num_tokens, num_experts] fp32
//   -> topk_weights [num_tokens, top_k] fp32, topk_ids [num_tokens, top_k] int32.
//
// One pass over a row keeps the best so far in order; after the first few experts most are turned
// away by one comparison. Weights are relative to the largest logit; where they are renormalised,
// the experts that weren't chosen cancel out.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>

#include <limits>

namespace {

using namespace fib;

constexpr int64_t kExperts = FIB_AXIS_num_experts;
constexpr int kTopK = FIB_AXIS_top_k;
constexpr int kPadded = (kTopK + kLanes - 1) / kLanes * kLanes;
constexpr bool kRenormalises = FIB_PARAM_renormalize != 0;

// e^(x - largest) in place, and the sum; count is a multiple of kLanes.
float exponentiate(float* x, int64_t count, float largest) {
  Floats sum = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats y = exp_of(load(x + i) - largest);
    store(x + i, y);
    sum += y;
  }
  return sum_of(sum);
}

void route(const float* logits, float* weights, int32_t* ids) {
  float best[kPadded];
  for (float& logit : best) logit = -std::numeric_limits<float>::infinity();
  int chosen = 0;
  for (int32_t expert = 0; expert < kExperts; ++expert) {
    const float logit = logits[expert];
    if (chosen == kTopK && !(logit > best[kTopK - 1])) continue;
    int place = chosen < kTopK ? chosen++ : kTopK - 1;
    for (; place > 0 && logit > best[place - 1]; --place) {
      best[place] = best[place - 1];
      ids[place] = ids[place - 1];
    }
    best[place] = logit;
    ids[place] = expert;
  }

  const float largest = best[0];
  float sum = exponentiate(best, kPadded, largest);
  if constexpr (!kRenormalises) {
    float row[(kExperts + kLanes - 1) / kLanes * kLanes];
    for (float& logit : row) logit = -std::numeric_limits<float>::infinity();
    memcpy(row, logits, kExperts * sizeof *row);
    sum = exponentiate(row, sizeof row / sizeof *row, largest);
  }
  for (int k = 0; k < kTopK; ++k) weights[k] = best[k] / sum;
}

void rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* logits = static_cast<const float*>(call.inputs[0].data);
  auto* weights = static_cast<float*>(call.outputs[0].data);
  auto* ids = static_cast<int32_t*>(call.outputs[1].data);
  for (int64_t row = begin; row < end; ++row)
    route(logits + row * kExperts, weights + row * kTopK, ids + row * kTopK);
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  call->parallel_for(call, call->inputs[0].shape[0], 1 + 4096 / kExperts, rows,
                     const_cast<FibCall*>(call));
  return 0;
}
