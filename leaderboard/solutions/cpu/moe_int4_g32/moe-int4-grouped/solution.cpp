// moe_int4_g32: output = sum_k topk_weights * down(silu(gate(x)) * up(x)) over each token's experts.
// hidden_states [num_tokens, H] bf16; topk_ids [num_tokens, top_k] int32; topk_weights fp32 alike;
// w13_packed [E, 2 I, H / 8] int32 (gate rows, then up rows), w13_scale [E, 2 I, H / 32] bf16;
// w2_packed [E, H, I / 8] int32, w2_scale [E, H, I / 32] bf16 -> output [num_tokens, H] bf16.
// Nibble i of a word is column 8 word + i; weight = (nibble - 8) * scale of its 32 columns.
//
// Decoding is bound by the bytes of the experts touched, so tokens are grouped by expert: a weight
// row is read and widened once a block of up to eight tokens, never written back. Gate and up first,
// a task being 16 rows of one expert; then down, a task being 32 output columns for all experts, so
// that sums over experts need no atomics and come out the same on any number of threads.

#include <fib/cpu.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace {

constexpr int64_t kHidden = FIB_AXIS_hidden_size;
constexpr int64_t kIntermediate = FIB_AXIS_intermediate_size;
constexpr int64_t kExperts = FIB_AXIS_num_experts;
constexpr int64_t kTopK = FIB_AXIS_top_k;
constexpr int64_t kRows = 16;     // of gate and up a task
constexpr int64_t kColumns = 32;  // of the output a task
constexpr int kBlock = 8;         // tokens a pass over a weight row
constexpr int kLanes = 16;
static_assert(kHidden % kColumns == 0 && kIntermediate % 32 == 0, "whole groups");

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));

float widen(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

uint16_t narrow(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  if (value != value) return 0x7FC0;
  return static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

// One pair of (token, one of its experts).
struct Pair {
  int32_t token;
  float weight;
};

struct Work {
  const uint16_t* hidden;                 // [tokens, kHidden] bf16
  const int32_t* ids;                     // [tokens, kTopK]
  const float* weights;                   // [tokens, kTopK]
  const uint32_t *w13, *w2;               // packed
  const uint16_t *w13_scale, *w2_scale;   // bf16
  uint16_t* output;                       // [tokens, kHidden] bf16
  int64_t tokens;
  // In the workspace:
  int64_t* first_pair;  // [kExperts + 1], pairs are sorted by expert
  Pair* pairs;          // [tokens * kTopK]
  float* x;             // [tokens, kHidden], widened
  float* middle;        // [tokens * kTopK, kIntermediate], rounded to bf16
  float* sums;          // [kHidden / kColumns, tokens, kColumns]
};

// Lays the buffers out from `base`; returns their bytes.
size_t place(Work& work, char* base) {
  const size_t tokens = static_cast<size_t>(work.tokens);
  size_t used = 0;
  const auto take = [&](auto*& pointer, size_t count) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + used);
    used += (count * sizeof *pointer + 63) / 64 * 64;
  };
  take(work.first_pair, kExperts + 1);
  take(work.pairs, tokens * kTopK);
  take(work.x, tokens * kHidden);
  take(work.middle, tokens * kTopK * kIntermediate);
  take(work.sums, tokens * kHidden);
  return used;
}

// Sixteen weights, unscaled, from two words.
Floats unpack(const uint32_t* words) {
  constexpr Words kShifts = {0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28};
  const uint32_t a = words[0], b = words[1];
  const Words spread = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
  return __builtin_convertvector(reinterpret_cast<Ints>(spread >> kShifts & 15) - 8, Floats);
}

// Dot products of one weight row [width] with kTokens rows of fp32.
template <int kTokens>
void dots(const uint32_t* packed, const uint16_t* scale, int64_t width, const float* const* rows,
          float* out) {
  Floats sums[kTokens] = {};
  for (int64_t group = 0; group < width / 32; ++group) {
    const float factor = widen(scale[group]);
    for (int half = 0; half < 2; ++half) {
      const Floats weights = unpack(packed + group * 4 + half * 2) * factor;
      for (int t = 0; t < kTokens; ++t) {
        Floats row;
        std::memcpy(&row, rows[t] + group * 32 + half * 16, sizeof row);
        sums[t] += weights * row;
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    out[t] = 0.0f;
    for (int lane = 0; lane < kLanes; ++lane) out[t] += sums[t][lane];
  }
}

using Dots = void (*)(const uint32_t*, const uint16_t*, int64_t, const float* const*, float*);
constexpr Dots kDots[kBlock + 1] = {nullptr, dots<1>, dots<2>, dots<3>, dots<4>,
                                    dots<5>, dots<6>, dots<7>, dots<8>};

void group_by_expert(const Work& work) {
  const int64_t count = work.tokens * kTopK;
  std::fill_n(work.first_pair, kExperts + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++work.first_pair[work.ids[i] + 1];
  for (int64_t e = 0; e < kExperts; ++e) work.first_pair[e + 1] += work.first_pair[e];
  // Filling moves each start to its end, which is the next one's start: shift back after.
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = work.first_pair[work.ids[i]]++;
    work.pairs[at] = Pair{static_cast<int32_t>(i / kTopK), work.weights[i]};
  }
  std::copy_backward(work.first_pair, work.first_pair + kExperts,
                     work.first_pair + kExperts + 1);
  work.first_pair[0] = 0;
}

void widen_tokens(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t i = begin * kHidden; i < end * kHidden; ++i) work.x[i] = widen(work.hidden[i]);
}

// Tasks: kExperts * (kIntermediate / kRows).
void gate_and_up(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t expert = task / (kIntermediate / kRows);
    const int64_t first_row = task % (kIntermediate / kRows) * kRows;
    const int64_t last_pair = work.first_pair[expert + 1];
    for (int64_t pair = work.first_pair[expert]; pair < last_pair; pair += kBlock) {
      const int tokens = static_cast<int>(std::min<int64_t>(kBlock, last_pair - pair));
      const float* rows[kBlock];
      for (int t = 0; t < tokens; ++t) rows[t] = work.x + work.pairs[pair + t].token * kHidden;
      for (int64_t r = first_row; r < first_row + kRows; ++r) {
        const int64_t gate_row = expert * 2 * kIntermediate + r;
        const int64_t up_row = gate_row + kIntermediate;
        float gate[kBlock], up[kBlock];
        kDots[tokens](work.w13 + gate_row * (kHidden / 8),
                      work.w13_scale + gate_row * (kHidden / 32), kHidden, rows, gate);
        kDots[tokens](work.w13 + up_row * (kHidden / 8),
                      work.w13_scale + up_row * (kHidden / 32), kHidden, rows, up);
        for (int t = 0; t < tokens; ++t) {
          const float activated = gate[t] / (1.0f + std::exp(-gate[t])) * up[t];
          work.middle[(pair + t) * kIntermediate + r] = widen(narrow(activated));
        }
      }
    }
  }
}

// Tasks: kHidden / kColumns.
void down(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    float* sums = work.sums + task * work.tokens * kColumns;
    std::fill_n(sums, work.tokens * kColumns, 0.0f);
    for (int64_t expert = 0; expert < kExperts; ++expert) {
      const int64_t last_pair = work.first_pair[expert + 1];
      for (int64_t pair = work.first_pair[expert]; pair < last_pair; pair += kBlock) {
        const int tokens = static_cast<int>(std::min<int64_t>(kBlock, last_pair - pair));
        const float* rows[kBlock];
        for (int t = 0; t < tokens; ++t) rows[t] = work.middle + (pair + t) * kIntermediate;
        for (int64_t c = 0; c < kColumns; ++c) {
          const int64_t row = expert * kHidden + task * kColumns + c;
          float values[kBlock];
          kDots[tokens](work.w2 + row * (kIntermediate / 8),
                        work.w2_scale + row * (kIntermediate / 32), kIntermediate, rows, values);
          for (int t = 0; t < tokens; ++t) {
            const Pair& p = work.pairs[pair + t];
            sums[p.token * kColumns + c] += p.weight * values[t];
          }
        }
      }
    }
    for (int64_t token = 0; token < work.tokens; ++token) {
      uint16_t* out = work.output + token * kHidden + task * kColumns;
      for (int64_t c = 0; c < kColumns; ++c) out[c] = narrow(sums[token * kColumns + c]);
    }
  }
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  Work work{};
  work.tokens = call->inputs[0].shape[0];
  return place(work, nullptr);
}

extern "C" int fib_run(const FibCall* call) {
  Work work{};
  work.hidden = static_cast<const uint16_t*>(call->inputs[0].data);
  work.ids = static_cast<const int32_t*>(call->inputs[1].data);
  work.weights = static_cast<const float*>(call->inputs[2].data);
  work.w13 = static_cast<const uint32_t*>(call->inputs[3].data);
  work.w13_scale = static_cast<const uint16_t*>(call->inputs[4].data);
  work.w2 = static_cast<const uint32_t*>(call->inputs[5].data);
  work.w2_scale = static_cast<const uint16_t*>(call->inputs[6].data);
  work.output = static_cast<uint16_t*>(call->outputs[0].data);
  work.tokens = call->inputs[0].shape[0];
  place(work, static_cast<char*>(call->workspace));

  group_by_expert(work);
  call->parallel_for(call, work.tokens, 8, widen_tokens, &work);
  call->parallel_for(call, kExperts * (kIntermediate / kRows), 1, gate_and_up, &work);
  call->parallel_for(call, kHidden / kColumns, 1, down, &work);
  return 0;
}
