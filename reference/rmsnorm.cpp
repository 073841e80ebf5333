// rmsnorm:            output = x * rsqrt(mean(x^2) + eps) * weight,  x = hidden_states
// fused_add_rmsnorm:  the same of x = hidden_states + residual, which isn't rounded in between
// fused_add_rmsnorm_residual:  the same, and residual_out = x; the honest implementation normalises
//                     the x that it has rounded for residual_out

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "reference/call.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

template <class Policy>
void normalise_rows(const ReferenceCall& call, const TensorSource& hidden,
                    const TensorSource* residual, const TensorSource& weight,
                    ReferenceOutputs& outputs) {
  using Real = typename Policy::Real;
  const int64_t width = weight.desc().num_elements();
  const Real eps = static_cast<Real>(call.problem.signature->parameter("eps", 1e-6));
  const DType dtype = call.problem.outputs[0].dtype;
  std::vector<float> scale(static_cast<size_t>(width));
  weight.read(0, std::span<float>(scale));

  FloatBuffer& output = outputs[0];
  call.parallel_for(output.size() / scale.size(), [&](int64_t begin, int64_t end) {
    std::vector<float> row(scale.size()), other(scale.size());
    std::vector<Real> x(scale.size());
    for (int64_t r = begin; r < end; ++r) {
      read_row(hidden, r, std::span<float>(row));
      for (int64_t i = 0; i < width; ++i) x[i] = row[i];
      if (residual) {
        read_row(*residual, r, std::span<float>(other));
        add_scaled(x.data(), Real{1}, other.data(), width);
      }
      if (outputs.size() > 1) {
        const std::span<float> sum(&outputs[1][r * width], scale.size());
        std::copy(x.begin(), x.end(), sum.begin());
        Policy::round(call.problem.outputs[1].dtype, sum);
        if constexpr (std::is_same_v<Policy, Honest>) std::copy(sum.begin(), sum.end(), x.begin());
      }
      const Real inverse = 1 / std::sqrt(sum_of_squares(x.data(), width) / width + eps);
      const std::span<float> out(&output[r * width], scale.size());
      for (int64_t i = 0; i < width; ++i) {
        out[i] = static_cast<float>(x[i] * inverse * static_cast<Real>(scale[i]));
      }
      Policy::round(dtype, out);
    }
  });
}

Result<ReferenceOutputs> normalise(const ReferenceCall& call, const TensorSource* residual) {
  const TensorSource* hidden = FIB_TRY(need_input(call, "hidden_states"));
  const TensorSource* weight = FIB_TRY(need_input(call, "weight"));
  ReferenceOutputs outputs = make_outputs(call.problem);
  with_precision(call.precision, [&](auto policy) {
    normalise_rows<decltype(policy)>(call, *hidden, residual, *weight, outputs);
  });
  return outputs;
}

}  // namespace

Result<ReferenceOutputs> rmsnorm_reference(const ReferenceCall& call) {
  return normalise(call, nullptr);
}

Result<ReferenceOutputs> fused_add_rmsnorm_reference(const ReferenceCall& call) {
  return normalise(call, FIB_TRY(need_input(call, "residual")));
}

Result<ReferenceOutputs> fused_add_rmsnorm_residual_reference(const ReferenceCall& call) {
  return normalise(call, FIB_TRY(need_input(call, "residual")));
}

}  // namespace fib
