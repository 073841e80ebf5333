#include "reference/moe.h"

#include <cmath>
#include <string>

#include "reference/call.h"
#include "reference/precision.h"

namespace fib {
namespace {

template <class Real>
Real silu(Real x) {
  return x / (1 + std::exp(-x));
}

// activations[assignment][i] = silu(gate . x) * up . x; one task a row i of one expert.
template <class Policy, class Real = typename Policy::Real>
std::vector<Real> gate_and_up(const ReferenceCall& call, const ExpertCall& experts,
                              const std::vector<int64_t>& first_assignment) {
  const int64_t hidden = experts.hidden_size, intermediate = experts.intermediate_size;
  const std::vector<Real> x(experts.hidden.begin(), experts.hidden.end());
  const bool gate_first = experts.order == ExpertCall::Order::kGateFirst;
  std::vector<Real> activations(static_cast<size_t>(first_assignment.back() * intermediate));

  const auto tasks = static_cast<int64_t>(experts.groups.size()) * intermediate;
  call.parallel_for(tasks, [&](int64_t begin, int64_t end) {
    std::vector<float> gate(static_cast<size_t>(hidden)), up(static_cast<size_t>(hidden));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task % intermediate, g = task / intermediate;
      const ExpertGroup& group = experts.groups[g];
      experts.read_gate_up(group.expert, gate_first ? i : intermediate + i, gate);
      experts.read_gate_up(group.expert, gate_first ? intermediate + i : i, up);
      for (size_t t = 0; t < group.tokens.size(); ++t) {
        const Real* token = &x[group.tokens[t].token * hidden];
        activations[(first_assignment[g] + t) * intermediate + i] =
            silu(dot(token, gate.data(), hidden)) * dot(token, up.data(), hidden);
      }
    }
  });
  return activations;
}

template <class Policy>
void run(const ReferenceCall& call, const ExpertCall& experts, FloatBuffer& output) {
  using Real = typename Policy::Real;
  const int64_t hidden = experts.hidden_size, intermediate = experts.intermediate_size;
  std::vector<int64_t> first_assignment = {0};
  for (const ExpertGroup& group : experts.groups) {
    first_assignment.push_back(first_assignment.back() + static_cast<int64_t>(group.tokens.size()));
  }

  std::vector<Real> activations = gate_and_up<Policy>(call, experts, first_assignment);
  if constexpr (std::is_same_v<Policy, Honest>) {
    call.parallel_for(first_assignment.back(), [&](int64_t begin, int64_t end) {
      for (int64_t a = begin; a < end; ++a) {
        experts.round_intermediate(
            std::span<float>(&activations[a * intermediate], static_cast<size_t>(intermediate)));
      }
    });
  }

  const int64_t num_tokens = static_cast<int64_t>(output.size()) / hidden;
  call.parallel_for(hidden, [&](int64_t begin, int64_t end) {
    std::vector<float> down(static_cast<size_t>(intermediate));
    std::vector<Real> sums(static_cast<size_t>(num_tokens));
    for (int64_t row = begin; row < end; ++row) {
      std::fill(sums.begin(), sums.end(), Real{0});
      for (size_t g = 0; g < experts.groups.size(); ++g) {
        const ExpertGroup& group = experts.groups[g];
        experts.read_down(group.expert, row, down);
        for (size_t t = 0; t < group.tokens.size(); ++t) {
          const Real* activation = &activations[(first_assignment[g] + t) * intermediate];
          sums[group.tokens[t].token] += static_cast<Real>(group.tokens[t].weight) *
                                         dot(activation, down.data(), intermediate);
        }
      }
      for (int64_t token = 0; token < num_tokens; ++token) {
        output[token * hidden + row] = static_cast<float>(sums[token]);
      }
    }
  });
  Policy::round(call.problem.outputs[0].dtype, std::span<float>(output));
}

}  // namespace

Result<std::vector<ExpertGroup>> group_by_expert(const TensorSource& ids,
                                                 const TensorSource& weights, int64_t num_experts) {
  const int64_t top_k = ids.desc().shape[1];
  const std::vector<int64_t> expert = read_integers(ids);
  std::vector<float> weight(expert.size());
  weights.read(0, std::span<float>(weight));
  std::vector<ExpertGroup> all(static_cast<size_t>(num_experts));
  for (size_t i = 0; i < expert.size(); ++i) {
    if (expert[i] < 0 || expert[i] >= num_experts) {
      return fail(ErrorCode::kInvalidInput,
                  "expert " + std::to_string(expert[i]) + " of " + std::to_string(num_experts),
                  ids.desc().name + "[" + std::to_string(i) + "]");
    }
    all[expert[i]].tokens.push_back({static_cast<int64_t>(i) / top_k, weight[i]});
  }
  std::vector<ExpertGroup> groups;
  for (int64_t e = 0; e < num_experts; ++e) {
    if (!all[e].tokens.empty()) groups.push_back({e, std::move(all[e].tokens)});
  }
  return groups;
}

void run_experts(const ReferenceCall& call, const ExpertCall& experts, FloatBuffer& output) {
  with_precision(call.precision,
                 [&](auto policy) { run<decltype(policy)>(call, experts, output); });
}

}  // namespace fib
