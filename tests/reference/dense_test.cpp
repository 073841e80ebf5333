// rmsnorm, fused_add_rmsnorm and gemm against evaluations written out by hand.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/reference/error_size.h"
#include "tests/workloads/inputs_fixture.h"

namespace fib {
namespace {

SignaturePtr norm_signature(const std::string& residual = {}) {
  return make_signature(R"json({"name": "rmsnorm_h6", "op_type": "rmsnorm",
    "axes": {"batch_size": {"type": "var"}, "hidden_size": {"type": "const", "value": 96}},
    "inputs": {"hidden_states": {"shape": ["batch_size", "hidden_size"],
                                 "dtype": "bfloat16"},)json" +
                        residual + R"json(
               "weight": {"shape": ["hidden_size"], "dtype": "bfloat16"}},
    "outputs": {"output": {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"}},
    "reference": "EPS = 1e-5\ndef run(hidden_states, weight): pass"})json");
}

SignaturePtr fused_signature() {
  return norm_signature(
      R"("residual": {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"},)");
}

SignaturePtr gemm_signature(int n, int k) {
  return make_signature(R"({"name": "g", "op_type": "gemm",
    "axes": {"M": {"type": "var"}, "N": {"type": "const", "value": )" +
                        std::to_string(n) + R"json(},
             "K": {"type": "const", "value": )json" +
                        std::to_string(k) + R"json(}},
    "inputs": {"A": {"shape": ["M", "K"], "dtype": "float16"},
               "B": {"shape": ["N", "K"], "dtype": "float16"}},
    "outputs": {"C": {"shape": ["M", "N"], "dtype": "float16"}},
    "reference": "def run(A, B): pass"})json");
}

InputSet inputs_for(const Problem& problem, uint64_t seed) {
  const auto plan = plan_inputs(problem);
  EXPECT_TRUE(plan) << plan.error().to_string();
  return with_seed(*plan, seed);
}

TEST(RmsNorm, MatchesTheFormula) {
  for (const bool is_fused : {false, true}) {
    const Problem problem =
        make_problem(is_fused ? fused_signature() : norm_signature(),
                     R"({"uuid": "u", "axes": {"batch_size": 37}, "inputs": {}})");
    ASSERT_EQ(problem.signature->fib.reference, is_fused ? "fused_add_rmsnorm" : "rmsnorm");
    const InputSet inputs = inputs_for(problem, 3);
    std::vector<double> x = values_of(inputs, "hidden_states");
    const std::vector<double> weight = values_of(inputs, "weight");
    if (is_fused) {
      const std::vector<double> residual = values_of(inputs, "residual");
      for (size_t i = 0; i < x.size(); ++i) x[i] += residual[i];
    }
    const auto exact = run_reference(problem, inputs, Precision::kExact);
    const auto honest = run_reference(problem, inputs, Precision::kHonest);
    ASSERT_TRUE(exact && honest);
    for (size_t i = 0; i < x.size(); ++i) {
      double squares = 0;
      for (size_t j = i / 96 * 96; j < i / 96 * 96 + 96; ++j) squares += x[j] * x[j];
      const double expected = x[i] / std::sqrt(squares / 96 + 1e-5) * weight[i % 96];
      ASSERT_NEAR((*exact)[0][i], expected, 1e-6 * std::abs(expected)) << i;
      ASSERT_EQ((*honest)[0][i], round_to(DType::kBFloat16, (*honest)[0][i]));
    }
    expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16);
  }
}

TEST(RmsNorm, NotANumberStaysInItsRow) {
  const Problem problem =
      make_problem(norm_signature(), R"({"uuid": "u", "axes": {"batch_size": 3}, "inputs": {}})");
  InputSet inputs = inputs_for(problem, 1);
  std::vector<double> hidden = values_of(inputs, "hidden_states");
  hidden[96 + 5] = std::numeric_limits<double>::quiet_NaN();
  hidden[2 * 96] = std::numeric_limits<double>::infinity();
  inputs.values[0].source = bytes_of(DType::kBFloat16, hidden);
  for (const Precision precision : {Precision::kExact, Precision::kHonest}) {
    const FloatBuffer output = (*run_reference(problem, inputs, precision))[0];
    EXPECT_TRUE(std::isfinite(output[0]));
    EXPECT_TRUE(std::isnan(output[96]));
    EXPECT_TRUE(std::isnan(output[2 * 96])) << "inf * 0";
    EXPECT_EQ(output[2 * 96 + 1], 0.0f) << "finite / inf";
  }
}

TEST(RmsNorm, NoRows) {
  const Problem problem =
      make_problem(norm_signature(), R"({"uuid": "u", "axes": {"batch_size": 0}, "inputs": {}})");
  const auto outputs = run_reference(problem, inputs_for(problem, 1), Precision::kExact);
  ASSERT_TRUE(outputs);
  EXPECT_TRUE((*outputs)[0].empty());
}

// Sizes on both sides of every block: 64 columns, panels of 16, 4 and 256 rows, depth 512.
TEST(Gemm, MatchesTheFormulaAtBlockEdges) {
  struct Size {
    int m, n, k;
  };
  for (const auto& [m, n, k] :
       {Size{1, 1, 1}, {3, 17, 513}, {5, 64, 512}, {259, 65, 40}, {2, 130, 1100}, {0, 16, 8}}) {
    const Problem problem =
        make_problem(gemm_signature(n, k),
                     R"({"uuid": "u", "inputs": {}, "axes": {"M": )" + std::to_string(m) + "}}");
    const InputSet inputs = inputs_for(problem, 9);
    const std::vector<double> a = values_of(inputs, "A"), b = values_of(inputs, "B");
    const auto exact = run_reference(problem, inputs, Precision::kExact);
    const auto honest = run_reference(problem, inputs, Precision::kHonest);
    ASSERT_TRUE(exact && honest);
    ASSERT_EQ((*exact)[0].size(), static_cast<size_t>(m) * n);
    for (int i = 0; i < m; ++i) {
      for (int j = 0; j < n; ++j) {
        long double sum = 0;
        for (int d = k - 1; d >= 0; --d)
          sum += static_cast<long double>(a[i * k + d]) * b[j * k + d];
        ASSERT_NEAR((*exact)[0][i * n + j], sum, 1e-6L * std::abs(sum) + 1e-12L)
            << m << "x" << n << "x" << k << " at " << i << ", " << j;
      }
    }
    if (m * n > 300) expect_rounding_error((*honest)[0], (*exact)[0], DType::kFloat16);
  }
}

TEST(Registry, NamesAreUniqueAndFound) {
  for (const std::string_view id : reference_ids()) {
    ASSERT_NE(find_reference(id), nullptr);
    EXPECT_EQ(find_reference(id)->id(), id);
  }
  EXPECT_GE(reference_ids().size(), 17u);
  EXPECT_EQ(find_reference("nonsense"), nullptr);
}

}  // namespace
}  // namespace fib
