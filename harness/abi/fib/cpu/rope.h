#pragma once

// Rotary embedding of query and key heads, and their way into a paged cache, for `cpu` solutions. A
// token's heads are computed by the same operations whatever stands around it: it comes out bit for
// bit the same in a batch of one or of many.

#include <math.h>

#include <fib/cpu/bf16.h>

namespace fib {

template <int kQoHeads, int kKvHeads, int kDim>
struct RopeAppend {
  static constexpr int kHalf = kDim / 2;
  static constexpr int kHeads = kQoHeads + 2 * kKvHeads;
  static_assert(kDim % (2 * kLanes) == 0, "halves of a head are read sixteen elements at a time");

  const uint16_t* qkv;        // [tokens, kHeads, kDim] bf16: query, key and value heads
  const uint16_t* q_weight;   // [kDim] bf16, scale of the heads' RMS norm; null: not normalised
  const uint16_t* k_weight;   // [kDim] bf16; null with q_weight
  float eps;                  // of the norm
  const float* cos_sin;       // [positions, kDim]: kHalf cosines, kHalf sines
  const int32_t* positions;   // [tokens]
  const int32_t* slots;       // [tokens]: rows of the caches
  uint16_t* q;                // [tokens, kQoHeads, kDim] bf16
  uint16_t* k_cache;          // [rows, kKvHeads, kDim] bf16; only the rows in `slots` are written
  uint16_t* v_cache;          // the same

  void run(int64_t token) const {
    const uint16_t* const heads = qkv + token * kHeads * kDim;
    const float* const turn_by = cos_sin + int64_t{positions[token]} * kDim;
    const int64_t row = int64_t{slots[token]} * kKvHeads * kDim;
    for (int head = 0; head < kQoHeads; ++head)
      turn(heads + head * kDim, q_weight, turn_by, q + (token * kQoHeads + head) * kDim);
    for (int head = 0; head < kKvHeads; ++head)
      turn(heads + (kQoHeads + head) * kDim, k_weight, turn_by, k_cache + row + head * kDim);
    memcpy(v_cache + row, heads + (kQoHeads + kKvHeads) * kDim, kKvHeads * kDim * sizeof *v_cache);
  }

 private:
  // Element i pairs with i + kHalf.
  void turn(const uint16_t* head, const uint16_t* weight, const float* turn_by,
            uint16_t* out) const {
    const float scale = weight ? inverse_rms(head) : 1.0f;
    for (int i = 0; i < kHalf; i += kLanes) {
      Floats low = load(head + i), high = load(head + kHalf + i);
      if (weight) {
        low = low * scale * load(weight + i);
        high = high * scale * load(weight + kHalf + i);
      }
      const Floats cosine = load(turn_by + i), sine = load(turn_by + kHalf + i);
      // Products as fma(), so that they aren't contracted into the sums.
      const Floats zero = {};
      store(out + i, fma(low, cosine, -fma(high, sine, zero)));
      store(out + kHalf + i, fma(high, cosine, fma(low, sine, zero)));
    }
  }

  float inverse_rms(const uint16_t* head) const {
    Floats squares = {};
    for (int i = 0; i < kDim; i += kLanes) squares = fma(load(head + i), load(head + i), squares);
    return 1.0f / sqrtf(sum_of(squares) / kDim + eps);
  }
};

}  // namespace fib
