// The expert references against token-by-token loops.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "signatures/catalog.h"
#include "tests/reference/error_size.h"
#include "tests/workloads/inputs_fixture.h"

namespace fib {
namespace {

using Row = std::vector<double>;

double silu(double x) { return x / (1 + std::exp(-x)); }

class Int4 : public testing::Test {
 protected:
  // 12 experts of the family's mathematics, small enough for loops over everything.
  Problem problem(int64_t tokens) {
    const Catalog catalog =
        *Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions");
    const auto signature = catalog.find("moe_int4_g32_topk3_e12_h64_i32");
    EXPECT_TRUE(signature) << signature.error().to_string();
    return make_problem(*signature, R"({"uuid": "u", "inputs": {}, "axes": {"num_tokens": )" +
                                        std::to_string(tokens) + "}}");
  }

  static double weight(const Row& packed, const Row& scale, int64_t element) {
    const auto word = static_cast<uint32_t>(static_cast<int64_t>(packed[element / 8]));
    return (static_cast<int>(word >> 4 * (element % 8) & 15) - 8) * scale[element / 32];
  }
};

TEST_F(Int4, MatchesATokenByTokenLoop) {
  for (const int64_t tokens : {1, 5, 40}) {  // one token leaves most experts without any
    const Problem p = problem(tokens);
    const auto plan = plan_inputs(p);
    ASSERT_TRUE(plan) << plan.error().to_string();
    const InputSet inputs = with_seed(*plan, 21);
    const auto exact = run_reference(p, inputs, Precision::kExact);
    const auto honest = run_reference(p, inputs, Precision::kHonest);
    ASSERT_TRUE(exact && honest);
    const Row x = values_of(inputs, "hidden_states"), ids = values_of(inputs, "topk_ids"),
              routing = values_of(inputs, "topk_weights"), w13 = values_of(inputs, "w13_packed"),
              s13 = values_of(inputs, "w13_scale"), w2 = values_of(inputs, "w2_packed"),
              s2 = values_of(inputs, "w2_scale");
    constexpr int64_t kHidden = 64, kInner = 32;
    for (int64_t t = 0; t < tokens; ++t) {
      Row expected(kHidden, 0.0);
      for (int64_t k = 0; k < 3; ++k) {
        const auto e = static_cast<int64_t>(ids[t * 3 + k]);
        Row activation;
        for (int64_t i = 0; i < kInner; ++i) {
          double gate = 0, up = 0;
          for (int64_t h = 0; h < kHidden; ++h) {
            gate += x[t * kHidden + h] * weight(w13, s13, (e * 2 * kInner + i) * kHidden + h);
            up +=
                x[t * kHidden + h] * weight(w13, s13, (e * 2 * kInner + kInner + i) * kHidden + h);
          }
          activation.push_back(silu(gate) * up);
        }
        for (int64_t h = 0; h < kHidden; ++h) {
          for (int64_t i = 0; i < kInner; ++i) {
            expected[h] +=
                routing[t * 3 + k] * activation[i] * weight(w2, s2, (e * kHidden + h) * kInner + i);
          }
        }
      }
      for (int64_t h = 0; h < kHidden; ++h) {
        ASSERT_NEAR((*exact)[0][t * kHidden + h], expected[h], 1e-6) << "token " << t << ", " << h;
      }
    }
    // Rounded twice: the activation, and the output.
    expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16, 2.0);
  }
}

TEST_F(Int4, NoTokens) {
  const Problem p = problem(0);
  const auto plan = plan_inputs(p);
  ASSERT_TRUE(plan) << plan.error().to_string();
  const auto outputs = run_reference(p, with_seed(*plan, 1), Precision::kHonest);
  ASSERT_TRUE(outputs);
  EXPECT_TRUE((*outputs)[0].empty());
}

TEST_F(Int4, RefusesExpertsThatAreNotThere) {
  const Problem p = problem(1);
  InputSet inputs = with_seed(*plan_inputs(p), 1);
  inputs.values[1].source = bytes_of(DType::kInt32, {0, 12, 1});
  const auto outputs = run_reference(p, inputs, Precision::kExact);
  ASSERT_FALSE(outputs);
  EXPECT_EQ(outputs.error().to_string(), "topk_ids[1]: expert 12 of 12");
}

TEST_F(Int4, NotANumberStaysInItsToken) {
  const Problem p = problem(3);
  InputSet inputs = with_seed(*plan_inputs(p), 1);
  Row hidden = values_of(inputs, "hidden_states");
  hidden[64] = std::nan("");
  inputs.values[0].source = bytes_of(DType::kBFloat16, hidden);
  const FloatBuffer output = (*run_reference(p, inputs, Precision::kExact))[0];
  EXPECT_TRUE(std::isfinite(output[0]));
  EXPECT_TRUE(std::isnan(output[64]));
  EXPECT_TRUE(std::isfinite(output[128]));
}

TEST(Bf16Experts, MatchATokenByTokenLoop) {
  const Catalog catalog =
      *Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions");
  const auto signature = catalog.find("moe_bf16_topk3_e12_h64_i32");
  ASSERT_TRUE(signature) << signature.error().to_string();
  constexpr int64_t kTokens = 40, kTopK = 3, kHidden = 64, kInner = 32;
  const Problem p =
      make_problem(*signature, R"({"uuid": "u", "inputs": {}, "axes": {"num_tokens": 40}})");
  const InputSet inputs = with_seed(*plan_inputs(p), 21);
  const auto exact = run_reference(p, inputs, Precision::kExact);
  const auto honest = run_reference(p, inputs, Precision::kHonest);
  ASSERT_TRUE(exact && honest);
  const Row x = values_of(inputs, "hidden_states"), ids = values_of(inputs, "topk_ids"),
            routing = values_of(inputs, "topk_weights"), w13 = values_of(inputs, "w13"),
            w2 = values_of(inputs, "w2");
  const auto dot = [](const double* a, const double* b, int64_t count) {
    return std::inner_product(a, a + count, b, 0.0);
  };
  for (int64_t t = 0; t < kTokens; ++t) {
    Row expected(kHidden, 0.0);
    for (int64_t k = 0; k < kTopK; ++k) {
      const auto e = static_cast<int64_t>(ids[t * kTopK + k]);
      Row activation;
      for (int64_t i = 0; i < kInner; ++i) {
        const double* gate_row = &w13[(e * 2 * kInner + i) * kHidden];
        const double* up_row = gate_row + kInner * kHidden;
        activation.push_back(silu(dot(&x[t * kHidden], gate_row, kHidden)) *
                             dot(&x[t * kHidden], up_row, kHidden));
      }
      for (int64_t h = 0; h < kHidden; ++h) {
        expected[h] += routing[t * kTopK + k] *
                       dot(activation.data(), &w2[(e * kHidden + h) * kInner], kInner);
      }
    }
    for (int64_t h = 0; h < kHidden; ++h) {
      ASSERT_NEAR((*exact)[0][t * kHidden + h], expected[h], 1e-6) << "token " << t << ", " << h;
    }
  }
  expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16, 2.0);
}

// DeepSeek routing over 8 experts in 4 groups, of which experts 2..5 are local.
TEST(Fp8BlockScale, MatchesATokenByTokenLoop) {
  const Problem p = make_problem(make_signature(R"json({
    "name": "moe_fp8_block_scale_ds_routing_topk3_ng4_kg2_e4_h256_i128", "op_type": "moe",
    "axes": {"seq_len": {"type": "var"}, "num_experts": {"type": "const", "value": 8},
      "num_local_experts": {"type": "const", "value": 4},
      "hidden_size": {"type": "const", "value": 256},
      "intermediate_size": {"type": "const", "value": 128},
      "gemm1_out_size": {"type": "const", "value": 256},
      "num_hidden_blocks": {"type": "const", "value": 2},
      "num_intermediate_blocks": {"type": "const", "value": 1},
      "num_gemm1_out_blocks": {"type": "const", "value": 2}},
    "inputs": {"routing_logits": {"shape": ["seq_len", "num_experts"], "dtype": "float32"},
      "routing_bias": {"shape": ["num_experts"], "dtype": "bfloat16"},
      "hidden_states": {"shape": ["seq_len", "hidden_size"], "dtype": "float8_e4m3fn"},
      "hidden_states_scale": {"shape": ["num_hidden_blocks", "seq_len"], "dtype": "float32"},
      "gemm1_weights": {"shape": ["num_local_experts", "gemm1_out_size", "hidden_size"],
                        "dtype": "float8_e4m3fn"},
      "gemm1_weights_scale": {"shape": ["num_local_experts", "num_gemm1_out_blocks",
                                        "num_hidden_blocks"], "dtype": "float32"},
      "gemm2_weights": {"shape": ["num_local_experts", "hidden_size", "intermediate_size"],
                        "dtype": "float8_e4m3fn"},
      "gemm2_weights_scale": {"shape": ["num_local_experts", "num_hidden_blocks",
                                        "num_intermediate_blocks"], "dtype": "float32"},
      "local_expert_offset": {"shape": null, "dtype": "int32"},
      "routed_scaling_factor": {"shape": null, "dtype": "float32"}},
    "outputs": {"output": {"shape": ["seq_len", "hidden_size"], "dtype": "bfloat16"}},
    "reference": "def run(routing_logits): pass"})json"),
                                 R"({"uuid": "u", "axes": {"seq_len": 9}, "inputs": {
      "local_expert_offset": {"type": "scalar", "value": 2},
      "routed_scaling_factor": {"type": "scalar", "value": 2.5}}})");
  const Signature& signature = *p.signature;
  ASSERT_EQ(signature.fib.reference, "moe_fp8_block_scale");
  ASSERT_EQ(signature.parameter("top_k", 0), 3);
  ASSERT_EQ(signature.parameter("num_groups", 0), 4);
  ASSERT_EQ(signature.parameter("top_groups", 0), 2);
  const auto plan = plan_inputs(p);
  ASSERT_TRUE(plan) << plan.error().to_string();
  const InputSet inputs = with_seed(*plan, 4);
  const auto exact = run_reference(p, inputs, Precision::kExact);
  ASSERT_TRUE(exact) << exact.error().to_string();

  const Row logits = values_of(inputs, "routing_logits"), bias = values_of(inputs, "routing_bias"),
            x = values_of(inputs, "hidden_states"), sx = values_of(inputs, "hidden_states_scale"),
            w1 = values_of(inputs, "gemm1_weights"), s1 = values_of(inputs, "gemm1_weights_scale"),
            w2 = values_of(inputs, "gemm2_weights"), s2 = values_of(inputs, "gemm2_weights_scale");
  for (int t = 0; t < 9; ++t) {
    Row s(8), biased(8);
    for (int e = 0; e < 8; ++e) {
      s[e] = 1 / (1 + std::exp(-logits[t * 8 + e]));
      biased[e] = s[e] + bias[e];
    }
    // A group of two scores their sum; keep the two best groups by counting who is better.
    std::vector<int> candidates;
    for (int e = 0; e < 8; ++e) {
      int better = 0;
      for (int g = 0; g < 4; ++g) {
        better += biased[2 * g] + biased[2 * g + 1] > biased[e / 2 * 2] + biased[e / 2 * 2 + 1];
      }
      if (better < 2) candidates.push_back(e);
    }
    std::sort(candidates.begin(), candidates.end(),
              [&](int a, int b) { return biased[a] > biased[b]; });
    const double total = s[candidates[0]] + s[candidates[1]] + s[candidates[2]];
    Row expected(256, 0.0);
    for (int k = 0; k < 3; ++k) {
      const int e = candidates[k] - 2;
      if (e < 0 || e >= 4) continue;
      Row activation;
      for (int i = 0; i < 128; ++i) {
        double up = 0, gate = 0;
        for (int h = 0; h < 256; ++h) {
          const double value = x[t * 256 + h] * sx[h / 128 * 9 + t];
          up += value * w1[(e * 256 + i) * 256 + h] * s1[(e * 2 + 0) * 2 + h / 128];
          gate += value * w1[(e * 256 + 128 + i) * 256 + h] * s1[(e * 2 + 1) * 2 + h / 128];
        }
        activation.push_back(silu(gate) * up);
      }
      for (int h = 0; h < 256; ++h) {
        for (int i = 0; i < 128; ++i) {
          expected[h] += 2.5 * s[candidates[k]] / total * activation[i] *
                         w2[(e * 256 + h) * 128 + i] * s2[e * 2 + h / 128];
        }
      }
    }
    const double size = std::sqrt(
        std::inner_product(expected.begin(), expected.end(), expected.begin(), 0.0) / 256);
    for (int h = 0; h < 256; ++h) {
      ASSERT_NEAR((*exact)[0][t * 256 + h], expected[h], 1e-5 * size + 1e-12)
          << "token " << t << ", " << h;
    }
  }
  // Dominated by rounding the activation to three mantissa bits.
  const auto honest = run_reference(p, inputs, Precision::kHonest);
  ASSERT_TRUE(honest);
  const double error = relative_rms((*honest)[0], (*exact)[0]);
  EXPECT_GT(error, 0.01);
  EXPECT_LT(error, 0.05);
}

}  // namespace
}  // namespace fib
