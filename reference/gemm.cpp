// gemm: C[M, N] = A[M, K] @ B[N, K]^T. In blocks, because the captured sizes reach 16k x 28k x 4k.

#include <algorithm>

#include "reference/call.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

constexpr int64_t kColumns = 64;  // of C a task: four panels
constexpr int64_t kRows = 256;    // of A a block; kRows x kDepth floats stay in the L2 cache
constexpr int64_t kDepth = 512;   // of K a block

// B's rows [first, first + columns) at depths [k, k + depth) as panels: out[panel][depth][column],
// zero beyond `columns`.
template <class Real>
void pack_panels(const std::vector<float>& rows, int64_t width, int64_t k, int64_t depth,
                 std::vector<Real>& out) {
  for (int64_t column = 0; column < kColumns; ++column) {
    const bool inside = column * width < static_cast<int64_t>(rows.size());
    Real* panel = &out[column / kPanelWidth * depth * kPanelWidth + column % kPanelWidth];
    for (int64_t d = 0; d < depth; ++d) {
      panel[d * kPanelWidth] = inside ? static_cast<Real>(rows[column * width + k + d]) : Real{0};
    }
  }
}

template <class Policy>
void multiply(const ReferenceCall& call, const TensorSource& a, const TensorSource& b,
              FloatBuffer& c) {
  using Real = typename Policy::Real;
  const int64_t num_rows = a.desc().shape[0], width = a.desc().shape[1];
  const int64_t num_columns = b.desc().shape[0];
  constexpr int64_t kPanels = kColumns / kPanelWidth;

  std::vector<float> rows(static_cast<size_t>(num_rows * width));
  call.parallel_for(num_rows, [&](int64_t begin, int64_t end) {
    a.read(begin * width, std::span<float>(&rows[begin * width], (end - begin) * width));
  });

  call.parallel_for((num_columns + kColumns - 1) / kColumns, [&](int64_t begin, int64_t end) {
    std::vector<Real> packed(static_cast<size_t>(kColumns * kDepth));
    // sums[panel][row][column of the panel]
    std::vector<Real> sums(static_cast<size_t>(num_rows * kColumns));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * kColumns;
      const int64_t columns = std::min(kColumns, num_columns - first);
      std::vector<float> weights(static_cast<size_t>(columns * width));
      b.read(first * width, std::span<float>(weights));
      std::fill(sums.begin(), sums.end(), Real{0});
      for (int64_t k = 0; k < width; k += kDepth) {
        const int64_t depth = std::min(kDepth, width - k);
        pack_panels(weights, width, k, depth, packed);
        for (int64_t row = 0; row < num_rows; row += kRows) {
          for (int64_t panel = 0; panel < kPanels; ++panel) {
            multiply_panel(&rows[row * width + k], width, std::min(kRows, num_rows - row),
                           &packed[panel * depth * kPanelWidth], depth,
                           &sums[(panel * num_rows + row) * kPanelWidth]);
          }
        }
      }
      for (int64_t row = 0; row < num_rows; ++row) {
        const std::span<float> out(&c[row * num_columns + first], static_cast<size_t>(columns));
        for (int64_t column = 0; column < columns; ++column) {
          const int64_t panel = column / kPanelWidth;
          out[column] = static_cast<float>(
              sums[(panel * num_rows + row) * kPanelWidth + column % kPanelWidth]);
        }
        Policy::round(call.problem.outputs[0].dtype, out);
      }
    }
  });
}

}  // namespace

Result<ReferenceOutputs> gemm_reference(const ReferenceCall& call) {
  const TensorSource* a = FIB_TRY(need_input(call, "A"));
  const TensorSource* b = FIB_TRY(need_input(call, "B"));
  ReferenceOutputs outputs = make_outputs(call.problem);
  with_precision(call.precision,
                 [&](auto policy) { multiply<decltype(policy)>(call, *a, *b, outputs[0]); });
  return outputs;
}

}  // namespace fib
