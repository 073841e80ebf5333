// moe_int4_g32: the weighted sum over a token's experts of down(silu(gate(x)) * up(x)).
// hidden_states [num_tokens, H] bf16; topk_ids [num_tokens, top_k] int32; topk_weights fp32 alike;
// w13_packed [E, 2 I, H / 8] int32 (gate rows, then up rows), w13_scale [E, 2 I, H / 32] bf16;
// w2_packed [E, H, I / 8] int32, w2_scale [E, H, I / 32] bf16 -> output [num_tokens, H] bf16.
// Nibble i of a word is column 8 word + i; weight = (nibble - 8) * scale of its 32 columns.
//
// Nibbles become bfloat16 in registers, exactly: a 16-bit word of a row holds four columns, and
// shifted by 0, 4, 8 and 12 bits, a whole register of words is looked up at once. So lane l of the
// s-th of four vectors holds columns 8 l + s and 8 l + s + 4, and x is laid out like that once. A
// group's products are scaled in fp32: nothing but the activation is rounded.

#include <fib/cpu/moe.h>

namespace {

using namespace fib;

constexpr int64_t kHidden = FIB_AXIS_hidden_size;
constexpr int64_t kInner = FIB_AXIS_intermediate_size;
constexpr int64_t kGroup = 32;  // columns a scale
constexpr int64_t kRegister = kStep / 2;         // lanes
constexpr int64_t kBlock = 8 * kRegister;        // columns in a register of words
constexpr int64_t kScales = kBlock / kGroup;     // groups in it: four lanes each

// Weights 4 i + s of a block, unscaled, for all words i.
#if defined(__AVX512BW__)
typedef Pairs Weights;

FIB_INLINE Weights unpack(Pairs words, int s) {
  // The sixteen values twice: the fifth bit of an index, the next nibble's, doesn't matter.
  alignas(64) static constexpr uint16_t kValues[32] = {
      0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80,  // -8 .. -1
      0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0,  // 0 .. 7
      0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80,
      0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0};
  return (Weights)_mm512_permutexvar_epi16((__m512i)(words >> 4 * s),
                                           _mm512_load_si512(kValues));
}
FIB_INLINE Sums dot(Sums sum, Pairs x, Weights weights) { return dot_pairs(sum, x, weights); }

// The scales of a block's groups, four lanes each.
FIB_INLINE Sums spread(const uint16_t* scales) {
  alignas(64) static constexpr uint16_t kGroupOf[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1,
                                                        1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
                                                        2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
  int64_t four;
  memcpy(&four, scales, sizeof four);
  return (Sums)_mm512_maskz_permutexvar_epi16(0xAAAAAAAA, _mm512_load_si512(kGroupOf),
                                              _mm512_set1_epi64(four));
}
#else
struct Weights {
  Sums low, high;  // words 2 l and 2 l + 1
};

FIB_INLINE Weights unpack(Pairs words, int s) {
  typedef int32_t Whole __attribute__((vector_size(sizeof(Pairs))));
  const auto convert = [](Pairs nibbles) {
    return __builtin_convertvector((Whole)(nibbles & 15) - 8, Sums);
  };
  return {convert(words >> 4 * s), convert(words >> (4 * s + 16))};
}
FIB_INLINE Sums dot(Sums sum, Pairs x, const Weights& weights) {
  return fma((Sums)(x << 16), weights.low, fma((Sums)(x & 0xFFFF0000u), weights.high, sum));
}
FIB_INLINE Sums spread(const uint16_t* scales) {
  Sums spread;
  for (int lane = 0; lane < kRegister; ++lane) spread[lane] = widen(scales[lane / 4]);
  return spread;
}
#endif

template <int64_t kWidth>
struct Int4Rows {
  const uint8_t* packed;  // [.., kWidth / 2]
  const uint16_t* scale;  // [.., kWidth / kGroup] bf16

  static constexpr int64_t kRow = (kWidth + kBlock - 1) / kBlock * kBlock;
  static constexpr int64_t position(int64_t column) {
    const int64_t c = column % kBlock;
    return column - c + (c % 4 * kRegister + c / 8) * 2 + c / 4 % 2;
  }

  void multiply(int64_t count, const uint16_t* const* x, int64_t row, int64_t ahead,
                float (*sums)[kTileColumns]) const {
    if constexpr (kTileRows >= 4) {
      if (count == 4) return tile<4>(x, row, ahead, sums);
      if (count == 3) return tile<3>(x, row, ahead, sums);
    }
    if (count == 2) return tile<2>(x, row, ahead, sums);
    tile<1>(x, row, ahead, sums);
  }

 private:
  static constexpr int64_t kBytes = kWidth / 2, kGroups = kWidth / kGroup;

  template <int kRows>
  void tile(const uint16_t* const* x, int64_t row, int64_t ahead,
            float (*sums)[kTileColumns]) const {
    const uint8_t* const nibbles = packed + row * kBytes;
    const uint16_t* const scales = scale + row * kGroups;
    Sums partial[kRows][kTileColumns] = {};
    const auto step = [&](int64_t block, int j, Pairs words, Sums factor) {
      Sums products[kRows] = {};
      for (int s = 0; s < 4; ++s) {
        const Weights weights = unpack(words, s);
        for (int i = 0; i < kRows; ++i)
          products[i] = dot(products[i], load_step(x[i] + block * kBlock + s * kStep), weights);
      }
      for (int i = 0; i < kRows; ++i) partial[i][j] = fma(products[i], factor, partial[i][j]);
    };
    constexpr int64_t kWhole = kWidth / kBlock;
    for (int64_t block = 0; block < kWhole; ++block) {
      for (int j = 0; j < kTileColumns; ++j) {
        const uint8_t* const words = nibbles + j * kBytes + block * (kBlock / 2);
        __builtin_prefetch(words + ahead * kBytes);
        Pairs loaded;
        memcpy(&loaded, words, sizeof loaded);
        step(block, j, loaded, spread(scales + j * kGroups + block * kScales));
      }
    }
    if constexpr (kWhole * kBlock < kWidth) {  // x is zero behind the edge
      for (int j = 0; j < kTileColumns; ++j) {
        Pairs words = {};
        uint16_t edge[kScales] = {};
        memcpy(&words, nibbles + j * kBytes + kWhole * (kBlock / 2), kBytes % (kBlock / 2));
        memcpy(edge, scales + j * kGroups + kWhole * kScales, kGroups % kScales * sizeof *edge);
        step(kWhole, j, words, spread(edge));
      }
    }
    for (int i = 0; i < kRows; ++i) {
      const Quad quad = sums_of(partial[i][0], partial[i][1], partial[i][2], partial[i][3]);
      memcpy(sums[i], &quad, sizeof quad);
    }
  }
};

using Experts = Moe<FIB_AXIS_num_experts, FIB_AXIS_top_k, kHidden, kInner, Int4Rows<kHidden>,
                    Int4Rows<kInner>>;

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return Experts::workspace_bytes(call->inputs[0].shape[0]);
}

extern "C" int fib_run(const FibCall* call) {
  Experts experts{};
  experts.hidden = static_cast<const uint16_t*>(call->inputs[0].data);
  experts.ids = static_cast<const int32_t*>(call->inputs[1].data);
  experts.weights = static_cast<const float*>(call->inputs[2].data);
  experts.gate_up.packed = static_cast<const uint8_t*>(call->inputs[3].data);
  experts.gate_up.scale = static_cast<const uint16_t*>(call->inputs[4].data);
  experts.down.packed = static_cast<const uint8_t*>(call->inputs[5].data);
  experts.down.scale = static_cast<const uint16_t*>(call->inputs[6].data);
  experts.output = static_cast<uint16_t*>(call->outputs[0].data);
  experts.tokens = call->inputs[0].shape[0];
  experts.run(call);
  return 0;
}
