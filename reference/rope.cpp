// rope_append:          heads of qkv [tokens, (q + 2 kv heads) * dim] are turned by their position
//                       (element i pairs with i + dim / 2); keys and values go to their slots of
//                       the caches [pages, page_size, kv_heads, dim]
// qk_norm_rope_append:  the same after an RMS norm of each query and key head

#include <cmath>

#include "reference/call.h"
#include "reference/precision.h"
#include "reference/registry.h"

namespace fib {
namespace {

struct RopeInputs {
  const TensorSource* qkv = nullptr;
  const TensorSource* cos_sin = nullptr;  // [positions, dim]: cosines, then sines
  const TensorSource* k_cache = nullptr;
  const TensorSource* v_cache = nullptr;
  std::vector<int64_t> positions, slots;
  std::vector<float> q_weight, k_weight;  // [dim]; empty: heads are not normalised
};

// All of a cache, as it was.
void copy_rows(const ReferenceCall& call, const TensorSource& from, FloatBuffer& to) {
  const int64_t width = from.desc().shape.back();
  call.parallel_for(static_cast<int64_t>(to.size()) / width, [&](int64_t begin, int64_t end) {
    from.read(begin * width,
              std::span<float>(&to[begin * width], static_cast<size_t>((end - begin) * width)));
  });
}

template <class Policy>
void turn_head(std::span<const float> head, std::span<const float> weight,
               std::span<const float> cos_sin, double eps, DType dtype, std::span<float> out) {
  using Real = typename Policy::Real;
  const size_t dim = head.size(), half = dim / 2;
  std::vector<Real> x(head.begin(), head.end());
  if (!weight.empty()) {
    const auto count = static_cast<int64_t>(dim);
    const Real inverse =
        1 / std::sqrt(sum_of_squares(x.data(), count) / count + static_cast<Real>(eps));
    for (size_t i = 0; i < dim; ++i) x[i] *= inverse * static_cast<Real>(weight[i]);
  }
  for (size_t i = 0; i < half; ++i) {
    const Real cosine = cos_sin[i], sine = cos_sin[half + i];
    out[i] = static_cast<float>(x[i] * cosine - x[half + i] * sine);
    out[half + i] = static_cast<float>(x[half + i] * cosine + x[i] * sine);
  }
  Policy::round(dtype, out);
}

template <class Policy>
void turn_and_append(const ReferenceCall& call, const RopeInputs& in, ReferenceOutputs& outputs) {
  const std::vector<int64_t>& q_shape = call.problem.outputs[0].shape;  // [tokens, heads, dim]
  const int64_t q_heads = q_shape[1], dim = q_shape[2];
  const int64_t kv_heads = in.k_cache->desc().shape[2];
  const double eps = call.problem.signature->parameter("eps", 1e-6);
  const DType dtype = call.problem.outputs[0].dtype;
  const auto width = static_cast<size_t>(dim);
  copy_rows(call, *in.k_cache, outputs[1]);
  copy_rows(call, *in.v_cache, outputs[2]);

  call.parallel_for(q_shape[0], [&](int64_t begin, int64_t end) {
    std::vector<float> cos_sin(width), row(static_cast<size_t>((q_heads + 2 * kv_heads) * dim));
    for (int64_t token = begin; token < end; ++token) {
      read_row(*in.qkv, token, std::span<float>(row));
      read_row(*in.cos_sin, in.positions[token], std::span<float>(cos_sin));
      const auto head = [&](int64_t h) { return std::span<const float>(&row[h * dim], width); };
      const auto place = [&](size_t output, int64_t index) {
        return std::span<float>(&outputs[output][index * dim], width);
      };
      for (int64_t h = 0; h < q_heads; ++h) {
        turn_head<Policy>(head(h), in.q_weight, cos_sin, eps, dtype, place(0, token * q_heads + h));
      }
      for (int64_t h = 0; h < kv_heads; ++h) {
        const int64_t slot = in.slots[token] * kv_heads + h;
        turn_head<Policy>(head(q_heads + h), in.k_weight, cos_sin, eps, dtype, place(1, slot));
        const auto value = head(q_heads + kv_heads + h);
        std::copy(value.begin(), value.end(), place(2, slot).begin());
      }
    }
  });
}

Result<std::vector<float>> read_weight(const ReferenceCall& call, std::string_view name) {
  const TensorSource* source = FIB_TRY(need_input(call, name));
  std::vector<float> weight(static_cast<size_t>(source->desc().num_elements()));
  source->read(0, std::span<float>(weight));
  return weight;
}

Result<ReferenceOutputs> run(const ReferenceCall& call, RopeInputs in) {
  in.qkv = FIB_TRY(need_input(call, "qkv"));
  in.cos_sin = FIB_TRY(need_input(call, "cos_sin"));
  in.k_cache = FIB_TRY(need_input(call, "k_cache"));
  in.v_cache = FIB_TRY(need_input(call, "v_cache"));
  in.positions = read_integers(*FIB_TRY(need_input(call, "positions")));
  in.slots = read_integers(*FIB_TRY(need_input(call, "slots")));
  ReferenceOutputs outputs = make_outputs(call.problem);
  with_precision(call.precision,
                 [&](auto policy) { turn_and_append<decltype(policy)>(call, in, outputs); });
  return outputs;
}

}  // namespace

Result<ReferenceOutputs> rope_append_reference(const ReferenceCall& call) { return run(call, {}); }

Result<ReferenceOutputs> qk_norm_rope_append_reference(const ReferenceCall& call) {
  RopeInputs in;
  in.q_weight = FIB_TRY(read_weight(call, "q_weight"));
  in.k_weight = FIB_TRY(read_weight(call, "k_weight"));
  return run(call, std::move(in));
}

}  // namespace fib
