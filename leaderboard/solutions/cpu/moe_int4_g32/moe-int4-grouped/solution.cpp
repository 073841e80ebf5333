// moe_int4_g32: output = sum_k topk_weights * down(silu(gate(x)) * up(x)) over each token's experts.
// hidden_states [num_tokens, H] bf16; topk_ids [num_tokens, top_k] int32; topk_weights fp32 alike;
// w13_packed [E, 2 I, H / 8] int32 (gate rows, then up rows), w13_scale [E, 2 I, H / 32] bf16;
// w2_packed [E, H, I / 8] int32, w2_scale [E, H, I / 32] bf16 -> output [num_tokens, H] bf16.
// Nibble i of a word is column 8 word + i; weight = (nibble - 8) * scale of its 32 columns.
//
// Weights become bfloat16 pairs in registers, (nibble - 8) being exact; a group's dot product is
// scaled in fp32, so that nothing but the activation is rounded.

#include <fib/cpu/moe.h>

namespace {

using namespace fib;

constexpr int64_t kHidden = FIB_AXIS_hidden_size;
constexpr int64_t kInner = FIB_AXIS_intermediate_size;
constexpr int64_t kGroup = 32;  // columns a scale

// kStep weights, unscaled, from kStep / 2 bytes.
FIB_INLINE Pairs unpack(const uint8_t* nibbles) {
#if defined(__AVX512BW__)
  // Two copies of the sixteen values: the fifth bit of an index, the next nibble's, doesn't matter.
  alignas(64) static constexpr uint16_t kValues[32] = {
      0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80,  // -8 .. -1
      0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0,  // 0 .. 7
      0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80,
      0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0};
  const __m512i bytes =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles)));
  const __m512i indices = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
  return (Pairs)_mm512_permutexvar_epi16(indices, _mm512_load_si512(kValues));
#else
  typedef uint8_t Bytes __attribute__((vector_size(kStep / 2)));
  typedef int32_t Whole __attribute__((vector_size(2 * kStep)));
  Bytes bytes;
  memcpy(&bytes, nibbles, sizeof bytes);
  const Whole words = __builtin_convertvector(bytes, Whole);
  const Pairs low = (Pairs)__builtin_convertvector((words & 15) - 8, Sums);
  const Pairs high = (Pairs)__builtin_convertvector((words >> 4) - 8, Sums);
  return high | low >> 16;  // small integers end in zeros
#endif
}

template <int64_t kWidth>
struct Int4Rows {
  const uint8_t* packed;  // [.., kWidth / 2]
  const uint16_t* scale;  // [.., kWidth / kGroup] bf16

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
  template <int kRows>
  void tile(const uint16_t* const* x, int64_t row, int64_t ahead,
            float (*sums)[kTileColumns]) const {
    const uint8_t* const nibbles = packed + row * (kWidth / 2);
    const uint16_t* const scales = scale + row * (kWidth / kGroup);
    Sums partial[kRows][kTileColumns] = {};
    for (int64_t k = 0; k < kWidth; k += kStep) {
      // A line holds four groups of a row: every group asks for another row's.
      const int64_t group = k / kGroup;
      __builtin_prefetch(nibbles + (group % kTileColumns + ahead) * (kWidth / 2) + k / 2);
      Pairs left[kRows];
      for (int i = 0; i < kRows; ++i) left[i] = load_step(x[i] + k);
      for (int j = 0; j < kTileColumns; ++j) {
        const Pairs right = unpack(nibbles + j * (kWidth / 2) + k / 2);
        const Sums factor = Sums{} + widen(scales[j * (kWidth / kGroup) + group]);
        for (int i = 0; i < kRows; ++i)
          partial[i][j] = fma(dot_pairs(Sums{}, left[i], right), factor, partial[i][j]);
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
