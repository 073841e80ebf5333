// The small steps between a decoder's products, against evaluations written out by hand.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "signatures/catalog.h"
#include "tests/reference/error_size.h"
#include "tests/workloads/inputs_fixture.h"

namespace fib {
namespace {

using Row = std::vector<double>;

// A problem of the built-in signature with its one var axis at `rows`.
Problem builtin_problem(const std::string& name, const std::string& axis, int64_t rows) {
  const Catalog catalog =
      *Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions");
  const auto signature = catalog.find(name);
  EXPECT_TRUE(signature) << signature.error().to_string();
  return make_problem(*signature, R"({"uuid": "u", "inputs": {}, "axes": {")" + axis +
                                      "\": " + std::to_string(rows) + "}}");
}

InputSet seeded(const Problem& problem) {
  const auto plan = plan_inputs(problem);
  EXPECT_TRUE(plan) << plan.error().to_string();
  return with_seed(*plan, 5);
}

// `values` in place of the inputs that were drawn.
ReferenceOutputs outputs_for(const Problem& problem, size_t input, DType dtype, const Row& values,
                             Precision precision) {
  InputSet inputs = seeded(problem);
  inputs.values[input].source = bytes_of(dtype, values);
  auto outputs = run_reference(problem, inputs, precision);
  EXPECT_TRUE(outputs) << outputs.error().to_string();
  return *std::move(outputs);
}

TEST(Embedding, CopiesRows) {
  const Problem problem = builtin_problem("embedding_v50_h24", "num_tokens", 9);
  const InputSet inputs = seeded(problem);
  const Row tokens = values_of(inputs, "token_ids"), weight = values_of(inputs, "weight");
  for (const Precision precision : {Precision::kExact, Precision::kHonest}) {
    const auto outputs = run_reference(problem, inputs, precision);
    ASSERT_TRUE(outputs);
    for (int64_t t = 0; t < 9; ++t) {
      for (int64_t h = 0; h < 24; ++h) {
        ASSERT_EQ((*outputs)[0][t * 24 + h], weight[static_cast<int64_t>(tokens[t]) * 24 + h]);
      }
    }
  }
}

TEST(Embedding, RefusesTokensThatAreNotThere) {
  const Problem problem = builtin_problem("embedding_v50_h24", "num_tokens", 2);
  for (const double token : {-1.0, 50.0}) {
    InputSet inputs = seeded(problem);
    inputs.values[0].source = bytes_of(DType::kInt32, {49, token});
    const auto outputs = run_reference(problem, inputs, Precision::kExact);
    ASSERT_FALSE(outputs);
    EXPECT_EQ(outputs.error().where, "token_ids[1]");
  }
}

TEST(SiluAndMul, MatchesTheFormula) {
  const Problem problem = builtin_problem("silu_and_mul_i96", "num_tokens", 17);
  const InputSet inputs = seeded(problem);
  const Row x = values_of(inputs, "gate_up");
  const auto exact = run_reference(problem, inputs, Precision::kExact);
  const auto honest = run_reference(problem, inputs, Precision::kHonest);
  ASSERT_TRUE(exact && honest);
  for (int64_t t = 0; t < 17; ++t) {
    for (int64_t i = 0; i < 96; ++i) {
      const double gate = x[t * 192 + i], up = x[t * 192 + 96 + i];
      const double expected = gate * up / (1 + std::exp(-gate));
      ASSERT_NEAR((*exact)[0][t * 96 + i], expected, 1e-6 * std::abs(expected));
    }
  }
  expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16);
}

TEST(SiluAndMul, LargeGatesStayFinite) {
  const Problem problem = builtin_problem("silu_and_mul_i2", "num_tokens", 1);
  for (const Precision precision : {Precision::kExact, Precision::kHonest}) {
    const ReferenceOutputs outputs =
        outputs_for(problem, 0, DType::kBFloat16, {-1024, 1024, 2, 2}, precision);
    EXPECT_EQ(outputs[0][0], 0.0f);
    EXPECT_EQ(outputs[0][1], 2048.0f);
  }
}

TEST(FusedAddRmsNormResidual, KeepsTheSum) {
  constexpr int64_t kRows = 37, kWidth = 96;
  const Problem problem =
      builtin_problem("fused_add_rmsnorm_residual_h96", "batch_size", kRows);
  const InputSet inputs = seeded(problem);
  Row sum = values_of(inputs, "hidden_states");
  const Row residual = values_of(inputs, "residual"), weight = values_of(inputs, "weight");
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += residual[i];
  const auto exact = run_reference(problem, inputs, Precision::kExact);
  const auto honest = run_reference(problem, inputs, Precision::kHonest);
  ASSERT_TRUE(exact && honest);
  // Of the sum as it is, and of the sum as residual_out holds it.
  const auto expected = [&](const auto& x, int64_t i) {
    double squares = 0;
    for (int64_t j = i / kWidth * kWidth; j < (i / kWidth + 1) * kWidth; ++j) {
      squares += static_cast<double>(x[j]) * x[j];
    }
    return x[i] / std::sqrt(squares / kWidth + 1e-6) * weight[i % kWidth];
  };
  for (int64_t i = 0; i < kRows * kWidth; ++i) {
    ASSERT_EQ((*exact)[1][i], static_cast<float>(sum[i])) << i;
    ASSERT_EQ((*honest)[1][i], round_to(DType::kBFloat16, static_cast<float>(sum[i]))) << i;
    ASSERT_NEAR((*exact)[0][i], expected(sum, i), 1e-6 * std::abs((*exact)[0][i])) << i;
    ASSERT_NEAR((*honest)[0][i], expected((*honest)[1], i), 0x1.01p-8 * std::abs((*honest)[0][i]))
        << i;
  }
  expect_rounding_error((*honest)[1], (*exact)[1], DType::kBFloat16);
  expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16, 2.0);
}

TEST(MoeRoutingSoftmax, ChoosesDescendingAndRenormalises) {
  constexpr int64_t kTokens = 23, kExperts = 12, kTopK = 5;
  const Problem problem =
      builtin_problem("moe_routing_softmax_topk5_e12", "num_tokens", kTokens);
  const InputSet inputs = seeded(problem);
  const Row logits = values_of(inputs, "logits");
  for (const Precision precision : {Precision::kExact, Precision::kHonest}) {
    const auto outputs = run_reference(problem, inputs, precision);
    ASSERT_TRUE(outputs);
    for (int64_t t = 0; t < kTokens; ++t) {
      const float* weights = &(*outputs)[0][t * kTopK];
      const float* ids = &(*outputs)[1][t * kTopK];
      const double* row = &logits[t * kExperts];
      EXPECT_NEAR(std::accumulate(weights, weights + kTopK, 0.0), 1.0, 1e-6);
      std::vector<bool> is_chosen(kExperts);
      for (int64_t k = 0; k < kTopK; ++k) {
        const auto expert = static_cast<int64_t>(ids[k]);
        EXPECT_FALSE(is_chosen[expert]);
        is_chosen[expert] = true;
        const double ratio = std::exp(row[expert] - row[static_cast<int64_t>(ids[0])]);
        EXPECT_NEAR(weights[k] / weights[0], ratio, 1e-6 * ratio);
        if (k > 0) {
          EXPECT_LE(weights[k], weights[k - 1]);
        }
      }
      for (int64_t e = 0; e < kExperts; ++e) {
        if (!is_chosen[e]) {
          EXPECT_LE(row[e], row[static_cast<int64_t>(ids[kTopK - 1])]);
        }
      }
    }
  }
}

TEST(MoeRoutingSoftmax, TheLowerOfEqualExpertsComesFirst) {
  const Problem problem = builtin_problem("moe_routing_softmax_topk3_e6", "num_tokens", 2);
  // 1000 and -1000 must not overflow; in the second row five experts tie for three places.
  const ReferenceOutputs outputs =
      outputs_for(problem, 0, DType::kFloat32,
                  {-1000, 1000, 0, 1000, -1000, 1, /**/ 2, 2, 2, -3, 2, 2}, Precision::kHonest);
  EXPECT_EQ(std::vector<float>(outputs[1].begin(), outputs[1].end()),
            (std::vector<float>{1, 3, 5, 0, 1, 2}));
  EXPECT_EQ(outputs[0][0], 0.5f);
  EXPECT_EQ(outputs[0][2], 0.0f);
  EXPECT_FLOAT_EQ(outputs[0][3], 1.0f / 3);
}

TEST(MoeRoutingSoftmax, WithoutRenormalisingTheOtherExpertsCount) {
  Problem problem = builtin_problem("moe_routing_softmax_topk2_e4", "num_tokens", 1);
  auto signature = std::make_shared<Signature>(*problem.signature);
  signature->fib.parameters["renormalize"] = 0;
  problem.signature = signature;
  const ReferenceOutputs outputs =
      outputs_for(problem, 0, DType::kFloat32, {7, 7, 7, 7}, Precision::kExact);
  EXPECT_EQ(outputs[0][0], 0.25f);
  EXPECT_EQ(outputs[0][1], 0.25f);
}

TEST(Argmax, TheLowestOfEqualTokens) {
  const Problem problem = builtin_problem("argmax_v5", "num_tokens", 4);
  const double low = -std::numeric_limits<double>::infinity();
  const ReferenceOutputs outputs =
      outputs_for(problem, 0, DType::kFloat32,
                  {1, 3, 2, 3, 0, /**/ low, low, low, low, low, /**/ -5, -4, -3, -2, -1,
                   /**/ 9, 1, 9, 9, 9},
                  Precision::kExact);
  EXPECT_EQ(std::vector<float>(outputs[0].begin(), outputs[0].end()),
            (std::vector<float>{1, 0, 4, 0}));
}

}  // namespace
}  // namespace fib
