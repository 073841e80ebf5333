// gemm: C = A @ B.T with fp32 accumulation.
// A [M, K] fp16, B [N, K] fp16 -> C [M, N] fp16. N and K are known at compile time.
//
// Both operands run along K in memory, so a tile of 4 rows of A and 4 rows of B is 16 dot products
// kept in registers. A is widened to fp32 once, into the workspace; each vector of B is widened in
// registers and used four times. A task owns a band of B's rows and walks A along it.

#include <fib/cpu.h>

#include <algorithm>
#include <cstring>
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kN = FIB_AXIS_N;
constexpr int64_t kK = FIB_AXIS_K;
constexpr int kTile = 4;
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif
static_assert(kK % kLanes == 0 && kN % kTile == 0, "tiles are whole in N and K");

typedef float Floats __attribute__((vector_size(4 * kLanes)));

#if !defined(__F16C__)
float widen_one(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = bits & 0x7FFF;
  float value;
  if (magnitude >= 0x7C00) {  // infinity, NaN
    const uint32_t word = sign | 0x7F800000 | (magnitude & 0x3FF) << 13;
    std::memcpy(&value, &word, sizeof value);
    return value;
  }
  const uint32_t word = magnitude << 13;  // 2^112 too small, subnormals included
  std::memcpy(&value, &word, sizeof value);
  value *= 0x1p112f;
  return sign ? -value : value;
}

uint16_t narrow(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  const uint16_t sign = static_cast<uint16_t>(word >> 16 & 0x8000);
  word &= 0x7FFFFFFF;
  if (word > 0x7F800000) return sign | 0x7E00;
  if (word >= 0x477FF000) return sign | 0x7C00;  // rounds to 65536 or more
  if (word < 0x38800000) {                       // subnormal: let the adder round
    float magnitude;
    std::memcpy(&magnitude, &word, sizeof magnitude);
    magnitude += 0.5f;
    std::memcpy(&word, &magnitude, sizeof word);
    return sign | static_cast<uint16_t>(word - 0x3F000000);
  }
  return sign | static_cast<uint16_t>((word - 0x38000000 + 0xFFF + (word >> 13 & 1)) >> 13);
}
#else
uint16_t narrow(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
#endif

Floats load(const uint16_t* fp16) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(fp16)));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(fp16)));
#else
  Floats values;
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = widen_one(fp16[lane]);
  return values;
#endif
}

float sum_of(Floats values) {
  float sum = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) sum += values[lane];
  return sum;
}

struct Work {
  const uint16_t* a;  // [rows, kK] fp16
  const uint16_t* b;  // [kN, kK] fp16
  float* wide_a;      // [rows, kK]
  uint16_t* c;        // [rows, kN] fp16
  int64_t rows;
};

void widen_rows(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t i = begin * kK; i < end * kK; i += kLanes) {
    const Floats values = load(work.a + i);
    std::memcpy(work.wide_a + i, &values, sizeof values);
  }
}

// kRows rows of A against kTile rows of B.
template <int kRows>
void tile(const float* a, const uint16_t* b, uint16_t* c) {
  Floats sums[kRows][kTile] = {};
  for (int64_t k = 0; k < kK; k += kLanes) {
    Floats right[kTile];
    for (int j = 0; j < kTile; ++j) right[j] = load(b + j * kK + k);
    for (int i = 0; i < kRows; ++i) {
      Floats left;
      std::memcpy(&left, a + i * kK + k, sizeof left);
      for (int j = 0; j < kTile; ++j) sums[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kTile; ++j) c[i * kN + j] = narrow(sum_of(sums[i][j]));
  }
}

// Bands of kTile rows of B.
void bands(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t row = 0; row < work.rows; row += kTile) {
    for (int64_t band = begin; band < end; ++band) {
      const float* a = work.wide_a + row * kK;
      const uint16_t* b = work.b + band * kTile * kK;
      uint16_t* c = work.c + row * kN + band * kTile;
      switch (std::min<int64_t>(kTile, work.rows - row)) {
        case 1: tile<1>(a, b, c); break;
        case 2: tile<2>(a, b, c); break;
        case 3: tile<3>(a, b, c); break;
        default: tile<4>(a, b, c); break;
      }
    }
  }
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return static_cast<size_t>(call->inputs[0].shape[0] * kK) * sizeof(float);
}

extern "C" int fib_run(const FibCall* call) {
  Work work{static_cast<const uint16_t*>(call->inputs[0].data),
            static_cast<const uint16_t*>(call->inputs[1].data),
            static_cast<float*>(call->workspace), static_cast<uint16_t*>(call->outputs[0].data),
            call->inputs[0].shape[0]};
  call->parallel_for(call, work.rows, 8, widen_rows, &work);
  call->parallel_for(call, kN / kTile, 8, bands, &work);
  return 0;
}
