// gemm_bf16: C = A @ B.T with fp32 accumulation, B laid out once.
// A [M, K] bf16, B [N, K] bf16 (a weight) -> C [M, N] bf16. N and K are known at compile time.
//
// Prepared: panels of kLane columns, [panels, pairs along K, kLane, 2] bf16. In the workspace: A
// widened, [M, 2 pairs] fp32. A step widens a panel's pairs in registers and multiplies them with
// a pair of each row of A, broadcast from memory: every lane sums one element of C from column 0 on,
// alone, so neither the other rows nor the tile change its bits. Products of two bfloat16 are exact
// in fp32; a fused multiply-add takes half a cycle, a bfloat16 dot product of twice the work two.

#include <fib/cpu/gemm.h>

namespace {

using namespace fib;

constexpr int64_t kN = FIB_AXIS_N, kK = FIB_AXIS_K;
constexpr int64_t kLane = sizeof(Sums) / sizeof(float);
constexpr int64_t kPanels = (kN + kLane - 1) / kLane;
constexpr int64_t kPairs = (kK + 1) / 2;
constexpr int64_t kPanelWords = kPairs * kLane;  // a word is a pair of bf16

struct Product {
  const uint16_t* a;       // [rows, kK] bf16
  const uint32_t* panels;  // [kPanels, kPairs, kLane] pairs
  float* wide;             // [rows, 2 kPairs], a widened
  uint16_t* c;             // [rows, kN] bf16
  int64_t rows;

  static void widen_rows(int64_t begin, int64_t end, void* context) {
    const Product& product = *static_cast<const Product*>(context);
    for (int64_t row = begin; row < end; ++row) {
      float* const out = product.wide + row * 2 * kPairs;
      for (int64_t k = 0; k < kK; ++k) out[k] = widen(product.a[row * kK + k]);
      if (kK < 2 * kPairs) out[kK] = 0.0f;
    }
  }

  template <int kRows, int kWide>
  FIB_INLINE void tile(int64_t row, int64_t panel) const {
    Sums sums[kRows][kWide] = {};
    const uint32_t* const words = panels + panel * kPanelWords;
    const float* const left = wide + row * 2 * kPairs;
    for (int64_t p = 0; p < kPairs; ++p) {
      Sums even[kWide], odd[kWide];
      for (int w = 0; w < kWide; ++w) {
        Pairs pairs;
        memcpy(&pairs, words + w * kPanelWords + p * kLane, sizeof pairs);
        even[w] = (Sums)(pairs << 16);
        odd[w] = (Sums)(pairs & 0xFFFF0000u);
      }
      for (int r = 0; r < kRows; ++r) {
        const float* const pair = left + r * 2 * kPairs + 2 * p;
        for (int w = 0; w < kWide; ++w)
          sums[r][w] = fma(pair[1] - Sums{}, odd[w], fma(pair[0] - Sums{}, even[w], sums[r][w]));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int w = 0; w < kWide; ++w) put_lanes(row + r, (panel + w) * kLane, sums[r][w]);
    }
  }

  FIB_INLINE void put_lanes(int64_t row, int64_t column, const Sums& sums) const {
    uint16_t* const out = c + row * kN + column;
    const int64_t lanes = kN - column < kLane ? kN - column : kLane;
    for (int64_t lane = 0; lane < lanes; ++lane) out[lane] = narrow(sums[lane]);
  }

  // Rows [row, end) of kWide panels, kRows at a time: a sum is a chain of additions, and it takes
  // eight chains or more to keep the two multipliers busy.
  template <int kRows, int kWide>
  int64_t tiles(int64_t row, int64_t end, int64_t panel) const {
    for (; row + kRows <= end; row += kRows) tile<kRows, kWide>(row, panel);
    return row;
  }

  template <int kWide>
  void columns(int64_t panel) const {
    constexpr int kMost = kLane == 16 ? 8 : 4;  // rows whose sums leave registers for operands
    int64_t row = 0;
    if constexpr (kWide <= 2) row = tiles<kMost, kWide>(row, rows, panel);
    if constexpr (kWide <= 4) row = tiles<4, kWide>(row, rows, panel);
    row = tiles<2, kWide>(row, rows, panel);
    tiles<1, kWide>(row, rows, panel);
  }

  static void run(int64_t begin, int64_t end, void* context) {
    const Product& product = *static_cast<const Product*>(context);
    int64_t panel = begin;
    if (product.rows == 1) {
      for (; panel + 8 <= end; panel += 8) product.columns<8>(panel);
    }
    if (product.rows < 8 && kLane == 16) {
      for (; panel + 4 <= end; panel += 4) product.columns<4>(panel);
    }
    for (; panel + 2 <= end; panel += 2) product.columns<2>(panel);
    for (; panel < end; ++panel) product.columns<1>(panel);
  }
};

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return static_cast<size_t>(call->inputs[0].shape[0] * 2 * kPairs) * sizeof(float);
}

extern "C" size_t fib_prepared_bytes(const FibCall*) {
  return static_cast<size_t>(kPanels * kPanelWords) * sizeof(uint32_t);
}

extern "C" int fib_prepare(const FibCall* call) {
  const auto* b = static_cast<const uint16_t*>(call->inputs[1].data);
  auto* out = static_cast<uint32_t*>(call->prepared);
  for (int64_t panel = 0; panel < kPanels; ++panel) {
    for (int64_t p = 0; p < kPairs; ++p) {
      for (int64_t lane = 0; lane < kLane; ++lane) {
        const int64_t column = panel * kLane + lane;
        uint32_t pair = 0;
        if (column < kN) memcpy(&pair, b + column * kK + 2 * p, 2 * p + 1 < kK ? 4 : 2);
        *out++ = pair;
      }
    }
  }
  return 0;
}

extern "C" int fib_run(const FibCall* call) {
  Product product{static_cast<const uint16_t*>(call->inputs[0].data),
                  static_cast<const uint32_t*>(call->prepared),
                  static_cast<float*>(call->workspace),
                  static_cast<uint16_t*>(call->outputs[0].data), call->inputs[0].shape[0]};
  if (product.rows == 0) return 0;
  call->parallel_for(call, product.rows, 1 + (1 << 15) / kK, Product::widen_rows, &product);
  // A chunk has at least 2^17 products, a few microseconds of work, and a pair of panels.
  const int64_t grain = 1 + (1 << 17) / (kK * kLane * product.rows);
  call->parallel_for(call, kPanels, grain < 2 ? 2 : grain, Product::run, &product);
  return 0;
}
