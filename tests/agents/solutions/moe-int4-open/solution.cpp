// moe_int4_g32, deliberately plain: the weighted sum over a token's experts of
// down(silu(gate(x)) * up(x)), one (token, choice) pair after the other.
// hidden_states [num_tokens, H] bf16; topk_ids [num_tokens, top_k] int32; topk_weights fp32 alike;
// w13_packed [E, 2 I, H / 8] int32 (gate rows, then up rows), w13_scale [E, 2 I, H / 32] bf16;
// w2_packed [E, H, I / 8] int32, w2_scale [E, H, I / 32] bf16 -> output [num_tokens, H] bf16.
// Nibble i of a word is column 8 word + i; weight = (nibble - 8) * scale of its 32 columns.
//
// A design space for `fib agent run`: blocks can be exchanged for those under variations/, macros
// set to what solution.json lists. The initial choices are the slow ones. Whatever is chosen, a
// token's bits don't depend on the other tokens.

#include <fib/cpu.h>

#include <cmath>
#include <cstring>

#ifndef LANES
#define LANES 8
#endif
#ifndef SUMS
#define SUMS 1
#endif
#ifndef TILE
#define TILE 1
#endif
#ifndef GRAIN
#define GRAIN 1
#endif

namespace {

constexpr int64_t kExperts = FIB_AXIS_num_experts;
constexpr int64_t kTopK = FIB_AXIS_top_k;
constexpr int64_t kHidden = FIB_AXIS_hidden_size;
constexpr int64_t kInner = FIB_AXIS_intermediate_size;
constexpr int64_t kGroup = 32;  // columns a scale

inline float widen(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

inline uint16_t narrow(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  if (value != value) return 0x7FC0;
  return static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

// GCC's and Clang's vector extension.
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

inline Floats load(const uint16_t* bf16) {
  Halves halves;
  std::memcpy(&halves, bf16, sizeof halves);
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

inline Floats load(const float* values) {
  Floats out;
  std::memcpy(&out, values, sizeof out);
  return out;
}

// packed [kWidth / 8] words, scales [kWidth / kGroup] bf16 -> weights [kWidth]
template <int64_t kWidth>
void dequantise(const uint32_t* packed, const uint16_t* scales, float* weights) {
  // fib:block weights
  for (int64_t i = 0; i < kWidth; ++i) {
    const int nibble = packed[i / 8] >> (i % 8 * 4) & 15;
    weights[i] = static_cast<float>(nibble - 8) * widen(scales[i / kGroup]);
  }
  // fib:end weights
}

// weights [kWidth], x [kWidth] bf16
template <int64_t kWidth>
float dot(const float* weights, const uint16_t* x) {
  // fib:block dot
  float sum = 0.0f;
  for (int64_t i = 0; i < kWidth; ++i) sum += weights[i] * widen(x[i]);
  return sum;
  // fib:end dot
}

// A call's operands and what lies in its workspace. A pair is token * kTopK + choice.
struct Work {
  const uint16_t* hidden;
  const int32_t* ids;
  const float* topk_weights;
  const uint32_t *w13, *w2;
  const uint16_t *w13_scale, *w2_scale;
  uint16_t* output;
  int64_t tokens;
  // Tiles: pairs of one expert, tile_pairs[tile_begin[i]] .. [tile_begin[i + 1]].
  int64_t tiles;
  int32_t* tile_begin;  // [pairs + 1]
  int32_t* tile_pairs;  // [pairs]
  uint16_t* inner;      // [pairs, kInner] bf16: silu(gate(x)) * up(x)
  float* partial;       // [pairs, kHidden]: down of it
};

void list_tiles(Work& work) {
  const int64_t pairs = work.tokens * kTopK;
  int32_t listed = 0;
  const auto end_tile = [&] { work.tile_begin[++work.tiles] = listed; };
  work.tiles = 0;
  work.tile_begin[0] = 0;
  // fib:block order
  for (int64_t pair = 0; pair < pairs; ++pair) {
    work.tile_pairs[listed++] = static_cast<int32_t>(pair);
    end_tile();
  }
  // fib:end order
}

void run_tiles(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t tile = begin; tile < end; ++tile) {
    const int32_t* const pairs = work.tile_pairs + work.tile_begin[tile];
    const int32_t count = work.tile_begin[tile + 1] - work.tile_begin[tile];
    const int64_t expert = work.ids[pairs[0]];
    for (int64_t i = 0; i < kInner; ++i) {
      float gate[kHidden], up[kHidden];
      const int64_t gate_row = 2 * expert * kInner + i, up_row = gate_row + kInner;
      dequantise<kHidden>(work.w13 + gate_row * (kHidden / 8),
                          work.w13_scale + gate_row * (kHidden / kGroup), gate);
      dequantise<kHidden>(work.w13 + up_row * (kHidden / 8),
                          work.w13_scale + up_row * (kHidden / kGroup), up);
      for (int32_t j = 0; j < count; ++j) {
        const uint16_t* const x = work.hidden + pairs[j] / kTopK * kHidden;
        const float g = dot<kHidden>(gate, x);
        work.inner[pairs[j] * kInner + i] = narrow(g / (1.0f + std::exp(-g)) * dot<kHidden>(up, x));
      }
    }
    for (int64_t i = 0; i < kHidden; ++i) {
      float down[kInner];
      const int64_t row = expert * kHidden + i;
      dequantise<kInner>(work.w2 + row * (kInner / 8), work.w2_scale + row * (kInner / kGroup),
                         down);
      for (int32_t j = 0; j < count; ++j) {
        work.partial[pairs[j] * kHidden + i] = dot<kInner>(down, work.inner + pairs[j] * kInner);
      }
    }
  }
}

void combine(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t token = begin; token < end; ++token) {
    for (int64_t i = 0; i < kHidden; ++i) {
      float sum = 0.0f;
      for (int64_t pair = token * kTopK; pair < (token + 1) * kTopK; ++pair) {
        sum += work.topk_weights[pair] * work.partial[pair * kHidden + i];
      }
      work.output[token * kHidden + i] = narrow(sum);
    }
  }
}

void for_all(const FibCall* call, int64_t count, FibBody body, Work* work) {
  // fib:block tasks
  static_cast<void>(call);
  body(0, count, work);
  // fib:end tasks
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  const size_t pairs = call->inputs[0].shape[0] * kTopK;
  return pairs * kHidden * sizeof(float) + pairs * kInner * sizeof(uint16_t) +
         (2 * pairs + 1) * sizeof(int32_t);
}

extern "C" int fib_run(const FibCall* call) {
  Work work = {};
  work.hidden = static_cast<const uint16_t*>(call->inputs[0].data);
  work.ids = static_cast<const int32_t*>(call->inputs[1].data);
  work.topk_weights = static_cast<const float*>(call->inputs[2].data);
  work.w13 = static_cast<const uint32_t*>(call->inputs[3].data);
  work.w13_scale = static_cast<const uint16_t*>(call->inputs[4].data);
  work.w2 = static_cast<const uint32_t*>(call->inputs[5].data);
  work.w2_scale = static_cast<const uint16_t*>(call->inputs[6].data);
  work.output = static_cast<uint16_t*>(call->outputs[0].data);
  work.tokens = call->inputs[0].shape[0];
  const int64_t pairs = work.tokens * kTopK;
  work.partial = static_cast<float*>(call->workspace);
  work.tile_begin = reinterpret_cast<int32_t*>(work.partial + pairs * kHidden);
  work.tile_pairs = work.tile_begin + pairs + 1;
  work.inner = reinterpret_cast<uint16_t*>(work.tile_pairs + pairs);
  list_tiles(work);
  for_all(call, work.tiles, run_tiles, &work);
  for_all(call, work.tokens, combine, &work);
  return 0;
}
