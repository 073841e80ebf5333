// silu_and_mul: output = gate / (1 + exp(-gate)) * up; a row of gate_up is the gate, then up.

#include <cmath>

#include "reference/call.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

template <class Policy>
void gate_rows(const ReferenceCall& call, const TensorSource& gate_up, FloatBuffer& output) {
  using Real = typename Policy::Real;
  const int64_t width = gate_up.desc().shape[1] / 2;
  call.parallel_for(gate_up.desc().shape[0], [&](int64_t begin, int64_t end) {
    std::vector<Real> row(static_cast<size_t>(2 * width));
    for (int64_t r = begin; r < end; ++r) {
      read_row(gate_up, r, std::span<Real>(row));
      const std::span<float> out(&output[r * width], static_cast<size_t>(width));
      for (int64_t i = 0; i < width; ++i) {
        out[i] = static_cast<float>(row[i] / (1 + std::exp(-row[i])) * row[width + i]);
      }
      Policy::round(call.problem.outputs[0].dtype, out);
    }
  });
}

}  // namespace

Result<ReferenceOutputs> silu_and_mul_reference(const ReferenceCall& call) {
  const TensorSource* gate_up = FIB_TRY(need_input(call, "gate_up"));
  ReferenceOutputs outputs = make_outputs(call.problem);
  with_precision(call.precision,
                 [&](auto policy) { gate_rows<decltype(policy)>(call, *gate_up, outputs[0]); });
  return outputs;
}

}  // namespace fib
