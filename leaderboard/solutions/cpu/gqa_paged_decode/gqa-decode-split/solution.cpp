// gqa_paged_decode and gqa_paged_decode_last_page: one query token a request against a paged cache.
// q [batch_size, num_qo_heads, head_dim] bf16; k_cache, v_cache [num_pages, page_size, num_kv_heads,
// head_dim] bf16; kv_indptr [batch_size + 1], kv_indices [num_kv_indices] int32, and with pages of
// several tokens kv_last_page_len [batch_size] int32; sm_scale
//   -> output [batch_size, num_qo_heads, head_dim] bf16, lse [batch_size, num_qo_heads] fp32, base 2.
//
// A request's tokens are cut into runs of 512, so that one long request keeps all threads busy. A
// task is a run and a KV head: it reads each key and value once for all the query heads that share
// them, with an online softmax over blocks of 16 tokens. A second sweep merges the runs.

#include <fib/cpu.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace {

constexpr int64_t kQoHeads = FIB_AXIS_num_qo_heads;
constexpr int64_t kKvHeads = FIB_AXIS_num_kv_heads;
constexpr int64_t kDim = FIB_AXIS_head_dim;
constexpr int64_t kPage = FIB_AXIS_page_size;
constexpr int64_t kGroup = kQoHeads / kKvHeads;
constexpr int64_t kRun = 512;   // tokens
constexpr int kLanes = 16;      // and tokens a softmax block
constexpr int64_t kVectors = kDim / kLanes;
static_assert(kDim % kLanes == 0 && kQoHeads % kKvHeads == 0, "whole vectors, whole groups");

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

Floats load(const uint16_t* bf16) {
  Halves halves;
  std::memcpy(&halves, bf16, sizeof halves);
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

void store(uint16_t* bf16, Floats values) {  // to nearest, ties to even
  const Words words = reinterpret_cast<Words>(values);
  const Words rounded = (words + 0x7FFF + (words >> 16 & 1)) >> 16;
  const Ints is_nan = values != values;
  const Halves halves = __builtin_convertvector(is_nan ? Words{} + 0x7FC0 : rounded, Halves);
  std::memcpy(bf16, &halves, sizeof halves);
}

float sum_of(Floats values) {
  float sum = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) sum += values[lane];
  return sum;
}

// 2^x for x <= 0, to 2^-22: the nearest integer goes to the exponent, the rest through a Taylor
// polynomial of e^(x ln 2). Below 2^-126 it is 0.
Floats exp2_of(Floats x) {
  const Floats clamped = x < -126.0f ? Floats{} - 126.0f : x;
  const Ints whole = __builtin_convertvector(clamped - 0.5f, Ints);  // truncates towards 0
  const Floats y = (clamped - __builtin_convertvector(whole, Floats)) * 0.693147181f;
  Floats p = y * (1.0f / 720) + 1.0f / 120;
  p = p * y + 1.0f / 24;
  p = p * y + 1.0f / 6;
  p = p * y + 0.5f;
  p = p * y + 1.0f;
  p = p * y + 1.0f;
  const Floats power = reinterpret_cast<Floats>((whole + 127) << 23);
  return x < -126.0f ? Floats{} : p * power;
}

struct Partial {  // of one query head over one run
  float max;      // of the base-2 logits
  float sum;      // of 2^(logit - max)
  float values[kDim];
};

struct Work {
  const uint16_t *q, *k, *v;
  const int32_t *indptr, *indices, *last_page_len;  // last_page_len: null with pages of one token
  float scale;                                      // sm_scale / ln 2
  int64_t batch;
  int64_t* first_run;  // [batch + 1]
  Partial* partials;   // [runs, kQoHeads]
  uint16_t* output;
  float* lse;

  int64_t tokens(int64_t request) const {
    const int64_t pages = indptr[request + 1] - indptr[request];
    if (pages == 0 || last_page_len == nullptr) return pages * kPage;
    return (pages - 1) * kPage + last_page_len[request];
  }
};

void attend(const Work& work, int64_t request, int64_t begin, int64_t end, int64_t kv_head,
            Partial* partials) {
  const int32_t* pages = work.indices + work.indptr[request];
  const uint16_t* queries = work.q + (request * kQoHeads + kv_head * kGroup) * kDim;
  Floats query[kGroup][kVectors], values[kGroup][kVectors] = {};
  float max[kGroup], sum[kGroup] = {};
  for (int64_t g = 0; g < kGroup; ++g) {
    max[g] = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < kVectors; ++i)
      query[g][i] = load(queries + g * kDim + i * kLanes) * work.scale;
  }
  for (int64_t first = begin; first < end; first += kLanes) {
    const int count = static_cast<int>(std::min<int64_t>(kLanes, end - first));
    int64_t offsets[kLanes];  // of the tokens' rows in the caches
    Floats logits[kGroup];
    for (int64_t g = 0; g < kGroup; ++g)
      logits[g] = Floats{} - std::numeric_limits<float>::infinity();
    for (int t = 0; t < count; ++t) {
      const int64_t token = first + t;
      const int64_t slot = pages[token / kPage] * kPage + token % kPage;
      offsets[t] = (slot * kKvHeads + kv_head) * kDim;
      Floats key[kVectors];
      for (int64_t i = 0; i < kVectors; ++i) key[i] = load(work.k + offsets[t] + i * kLanes);
      for (int64_t g = 0; g < kGroup; ++g) {
        Floats dot = query[g][0] * key[0];
        for (int64_t i = 1; i < kVectors; ++i) dot += query[g][i] * key[i];
        logits[g][t] = sum_of(dot);
      }
    }
    for (int64_t g = 0; g < kGroup; ++g) {
      float block_max = max[g];
      for (int t = 0; t < count; ++t) block_max = std::max(block_max, logits[g][t]);
      const float rescale = std::exp2(max[g] - block_max);
      max[g] = block_max;
      logits[g] = exp2_of(logits[g] - block_max);
      sum[g] = sum[g] * rescale + sum_of(logits[g]);
      for (int64_t i = 0; i < kVectors; ++i) values[g][i] *= rescale;
    }
    for (int t = 0; t < count; ++t) {
      Floats value[kVectors];
      for (int64_t i = 0; i < kVectors; ++i) value[i] = load(work.v + offsets[t] + i * kLanes);
      for (int64_t g = 0; g < kGroup; ++g) {
        for (int64_t i = 0; i < kVectors; ++i) values[g][i] += logits[g][t] * value[i];
      }
    }
  }
  for (int64_t g = 0; g < kGroup; ++g) {
    partials[g].max = max[g];
    partials[g].sum = sum[g];
    std::memcpy(partials[g].values, values[g], sizeof values[g]);
  }
}

// Tasks: runs * kKvHeads, heads innermost.
void attend_runs(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t run = task / kKvHeads, head = task % kKvHeads;
    const int64_t* after = std::upper_bound(work.first_run, work.first_run + work.batch + 1, run);
    const int64_t request = after - work.first_run - 1;
    const int64_t first = (run - work.first_run[request]) * kRun;
    const int64_t last = std::min(first + kRun, work.tokens(request));
    attend(work, request, first, last, head, work.partials + run * kQoHeads + head * kGroup);
  }
}

// Tasks: batch * kQoHeads.
void merge_runs(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t request = task / kQoHeads, head = task % kQoHeads;
    const Partial* first = work.partials + work.first_run[request] * kQoHeads + head;
    const int64_t runs = work.first_run[request + 1] - work.first_run[request];
    float max = -std::numeric_limits<float>::infinity();
    for (int64_t r = 0; r < runs; ++r) max = std::max(max, first[r * kQoHeads].max);
    float sum = 0.0f;
    Floats values[kVectors] = {};
    for (int64_t r = 0; r < runs; ++r) {
      const Partial& partial = first[r * kQoHeads];
      const float weight = std::exp2(partial.max - max);
      sum += weight * partial.sum;
      for (int64_t i = 0; i < kVectors; ++i) {
        Floats part;
        std::memcpy(&part, partial.values + i * kLanes, sizeof part);
        values[i] += weight * part;
      }
    }
    // An empty request has no runs: its output is 0 and its lse -inf.
    const float inverse = runs > 0 ? 1.0f / sum : 0.0f;
    for (int64_t i = 0; i < kVectors; ++i)
      store(work.output + task * kDim + i * kLanes, values[i] * inverse);
    work.lse[task] = runs > 0 ? max + std::log2(sum) : max;
  }
}

size_t runs_bytes(int64_t batch) {
  return (static_cast<size_t>(batch + 1) * sizeof(int64_t) + 63) / 64 * 64;
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  const int64_t batch = call->inputs[0].shape[0];
  const int64_t most_runs = call->inputs[4].shape[0] * kPage / kRun + batch;
  return runs_bytes(batch) + static_cast<size_t>(most_runs * kQoHeads) * sizeof(Partial);
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
  work.scale = static_cast<float>(call->scalars[call->num_inputs - 1].f * 1.4426950408889634);
  work.batch = call->inputs[0].shape[0];
  work.first_run = static_cast<int64_t*>(call->workspace);
  work.partials = reinterpret_cast<Partial*>(static_cast<char*>(call->workspace) +
                                             runs_bytes(work.batch));
  work.output = static_cast<uint16_t*>(call->outputs[0].data);
  work.lse = static_cast<float*>(call->outputs[1].data);

  work.first_run[0] = 0;
  for (int64_t r = 0; r < work.batch; ++r)
    work.first_run[r + 1] = work.first_run[r] + (work.tokens(r) + kRun - 1) / kRun;
  call->parallel_for(call, work.first_run[work.batch] * kKvHeads, 1, attend_runs, &work);
  call->parallel_for(call, work.batch * kQoHeads, 16, merge_runs, &work);
  return 0;
}
