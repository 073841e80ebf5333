// sampling_from_logits: of each row of logits [tokens, vocab] one token, drawn from
// softmax(logits / temperature) cut to the top_k most likely tokens, of these to the fewest that
// hold top_p of the mass, of these to those with min_p of the largest probability. A temperature
// below 2^-20 takes the largest logit, of equal ones the lowest id.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "reference/call.h"
#include "reference/registry.h"

namespace fib {
namespace {

constexpr double kLeastTemperature = 0x1p-20;  // less counts as 0

struct Row {
  std::vector<float> logits;
  double temperature = 1.0;
  int64_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double uniform = 0.0;

  // Sorts tokens by likelihood, of equal ones lower ids first.
  bool is_likelier(int64_t a, int64_t b) const {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  }
};

// The probabilities by token id, not normalised; 0 for what is cut away. `slack` widens the cuts by
// what rounding may move them.
std::vector<double> kept_weights(const Row& row, double slack) {
  std::vector<double> weights(row.logits.size()), kept(row.logits.size());
  const auto largest = std::max_element(row.logits.begin(), row.logits.end());
  if (row.temperature < kLeastTemperature) {
    kept[static_cast<size_t>(largest - row.logits.begin())] = 1.0;
    return kept;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = std::exp((static_cast<double>(row.logits[i]) - *largest) / row.temperature);
  }

  std::vector<int64_t> tokens(weights.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto is_likelier = [&](int64_t a, int64_t b) { return row.is_likelier(a, b); };
  if (row.top_k > 0 && row.top_k < static_cast<int64_t>(tokens.size())) {
    const auto last = tokens.begin() + row.top_k - 1;
    std::nth_element(tokens.begin(), last, tokens.end(), is_likelier);
    const double least = weights[*last] * (1.0 - slack);
    const auto end =
        slack == 0.0 ? last + 1 : std::partition(last + 1, tokens.end(), [&](int64_t token) {
          return weights[token] >= least;
        });
    tokens.erase(end, tokens.end());
  }
  if (row.top_p < 1.0) {
    std::sort(tokens.begin(), tokens.end(), is_likelier);
    double all = 0.0;
    for (const int64_t token : tokens) all += weights[token];
    double mass = weights[tokens[0]];  // one is always kept
    size_t count = 1;
    while (count < tokens.size() && mass < (row.top_p + slack) * all) {
      mass += weights[tokens[count++]];
    }
    tokens.resize(count);
  }
  for (const int64_t token : tokens) {  // the largest weight is 1
    if (weights[token] >= row.min_p * (1.0 - slack)) kept[token] = weights[token];
  }
  return kept;
}

// The first token at which the sum of the weights passes `uniform` of all.
int64_t inverse_of_cumulative(const std::vector<double>& weights, double uniform) {
  const double target = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0.0;
  int64_t last = 0;
  for (size_t token = 0; token < weights.size(); ++token) {
    if (weights[token] == 0.0) continue;
    last = static_cast<int64_t>(token);
    sum += weights[token];
    if (sum > target) break;
  }
  return last;
}

DrawScore score(const Row& row, int64_t draw, double slack) {
  const std::vector<double> weights = kept_weights(row, 0.0);
  DrawScore score;
  if (draw < 0 || draw >= static_cast<int64_t>(weights.size())) return score;
  double all = 0.0, lower = 0.0, likelier = 0.0;
  for (int64_t token = 0; token < static_cast<int64_t>(weights.size()); ++token) {
    all += weights[token];
    if (token < draw) lower += weights[token];
    if (row.is_likelier(token, draw)) likelier += weights[token];
  }
  score.is_possible = weights[draw] > 0.0 || kept_weights(row, slack)[draw] > 0.0;
  score.probability = weights[draw] / all;
  score.lower = lower / all;
  score.likelier = likelier / all;
  return score;
}

// Calls body(row number, row) for each row.
Result<void> for_each_row(const ReferenceCall& call,
                          const std::function<void(int64_t, const Row&)>& body) {
  const TensorSource* logits = FIB_TRY(need_input(call, "logits"));
  const auto vocab = static_cast<size_t>(logits->desc().shape.back());
  const auto count = static_cast<size_t>(logits->desc().shape.front());
  const auto read = [&](std::string_view name) -> Result<std::vector<float>> {
    std::vector<float> values(count);
    FIB_TRY(need_input(call, name))->read(0, std::span<float>(values));
    return values;
  };
  const std::vector<float> temperature = FIB_TRY(read("temperature"));
  const std::vector<int64_t> top_k = read_integers(*FIB_TRY(need_input(call, "top_k")));
  const std::vector<float> top_p = FIB_TRY(read("top_p"));
  const std::vector<float> min_p = FIB_TRY(read("min_p"));
  const std::vector<float> uniform = FIB_TRY(read("uniform"));
  call.parallel_for(static_cast<int64_t>(count), [&](int64_t begin, int64_t end) {
    Row row{.logits = std::vector<float>(vocab)};
    for (int64_t i = begin; i < end; ++i) {
      read_row(*logits, i, std::span<float>(row.logits));
      row.temperature = temperature[i];
      row.top_k = top_k[i];
      row.top_p = top_p[i];
      row.min_p = min_p[i];
      row.uniform = uniform[i];
      body(i, row);
    }
  });
  return {};
}

}  // namespace

// One way to draw of many, and the same in both precisions: draws are judged by score().
Result<ReferenceOutputs> sampling_from_logits_reference(const ReferenceCall& call) {
  ReferenceOutputs outputs = make_outputs(call.problem);
  FIB_CHECK(for_each_row(call, [&](int64_t i, const Row& row) {
    outputs[0][i] = static_cast<float>(inverse_of_cumulative(kept_weights(row, 0.0), row.uniform));
  }));
  return outputs;
}

Result<std::vector<DrawScore>> sampling_from_logits_scores(const ReferenceCall& call,
                                                           std::span<const int64_t> draws) {
  const Signature& signature = *call.problem.signature;
  const double slack = signature.fib.tolerances.at(signature.outputs[0].name).slack;
  std::vector<DrawScore> scores(draws.size());
  FIB_CHECK(for_each_row(
      call, [&](int64_t i, const Row& row) { scores[i] = score(row, draws[i], slack); }));
  return scores;
}

}  // namespace fib
