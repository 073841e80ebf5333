#include "harness/draws.h"

#include <fib/philox.h>

#include <algorithm>
#include <cmath>

#include "harness/thread_pool.h"

namespace fib {

Result<DrawCheck> check_draws(const DrawRequest& request) {
  const Signature& signature = *request.problem.signature;
  const TensorDesc& desc = request.problem.outputs[request.output];
  const Reference* reference = find_reference(signature.fib.reference);
  if (reference == nullptr) {
    return fail(ErrorCode::kUnsupported,
                "there is no C++ reference '" + signature.fib.reference + "'", signature.name);
  }
  std::vector<int64_t> draws(static_cast<size_t>(desc.num_elements()));
  for (size_t i = 0; i < draws.size(); ++i) {
    draws[i] = static_cast<int64_t>(
        load_element(desc.dtype, request.values.data(), static_cast<int64_t>(i)));
  }
  const auto sources = open_sources(request.inputs);
  const std::vector<DrawScore> scores =
      FIB_TRY(reference->score({.problem = request.problem,
                                .inputs = sources,
                                .precision = Precision::kExact,
                                .parallel_for = parallel_on(request.threads)},
                               draws));
  DrawCheck check;
  check.stats.count = desc.num_elements();
  for (size_t i = 0; i < scores.size(); ++i) {
    const DrawScore& score = scores[i];
    if (!score.is_possible) {
      if (check.stats.elements_over_bound++ == 0) {
        check.stats.first_bad_index = static_cast<int64_t>(i);
        check.first_bad_value = draws[i];
      }
    } else if (score.probability < 1.0) {
      const double share = score.probability * uniform_from_bits(philox_element_bits(
                                                   i, 0, request.seed ^ request.inputs.seed));
      check.ranks.by_value.push_back(score.lower + share);
      check.ranks.by_likelihood.push_back(score.likelier + share);
    }
  }
  return check;
}

void DrawRecord::add(const DrawCheck& check, size_t version) {
  if (first_bad_index < 0 && check.stats.first_bad_index >= 0) {
    first_bad_index = check.stats.first_bad_index;
    first_bad_value = check.first_bad_value;
  }
  if (versions.size() <= version) versions.resize(version + 1);
  const auto append = [](std::vector<double>& to, const std::vector<double>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(versions[version].by_value, check.ranks.by_value);
  append(versions[version].by_likelihood, check.ranks.by_likelihood);
}

int64_t DrawRecord::num_draws() const {
  size_t count = 0;
  for (const DrawRanks& ranks : versions) count += ranks.by_value.size();
  return static_cast<int64_t>(count);
}

double DrawRecord::p_value() const {
  double least = 1.0;
  for (const DrawRanks& ranks : versions) {
    least =
        std::min({least, uniform_p_value(ranks.by_value), uniform_p_value(ranks.by_likelihood)});
  }
  const size_t tests = 2 * std::max<size_t>(versions.size(), 1);
  return std::min(1.0, least * static_cast<double>(tests));  // Bonferroni
}

double uniform_p_value(std::vector<double> values) {
  if (values.empty()) return 1.0;
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  double distance = 0.0;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto before = static_cast<double>(i);
    distance = std::max({distance, values[i] - before / count, (before + 1.0) / count - values[i]});
  }
  // Kolmogorov's limit with Stephens' correction for small samples.
  const double root = std::sqrt(count);
  const double x = (root + 0.12 + 0.11 / root) * distance;
  if (x < 0.2) return 1.0;  // to 15 digits; the series below converges slowly there
  double p = 0.0, sign = 2.0;
  for (int k = 1; k <= 100; ++k, sign = -sign) p += sign * std::exp(-2.0 * k * k * x * x);
  return std::clamp(p, 0.0, 1.0);
}

}  // namespace fib
