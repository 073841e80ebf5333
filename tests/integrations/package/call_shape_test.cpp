#include "integrations/package/call_shape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

std::byte kMemory[64];

Operand tensor(std::initializer_list<int64_t> shape) { return Operand::tensor(kMemory, shape); }

class CallShapeTest : public testing::Test {
 protected:
  // gqa_paged_decode_h4_kv2_d64_ps1 with 2 requests over 5 tokens.
  std::vector<Operand> inputs_ = {tensor({2, 4, 64}), tensor({8, 1, 2, 64}), tensor({8, 1, 2, 64}),
                                  tensor({3}),        tensor({5}),           Operand::value(0.125)};
  std::vector<Operand> outputs_ = {tensor({2, 4, 64}), tensor({2, 4})};
  CallShape shape_ = must(CallShape::of(must(catalog().find("gqa_paged_decode_h4_kv2_d64_ps1"))));

  std::string refusal() {
    const auto solved = shape_.solve({inputs_, outputs_});
    return solved ? "solved" : solved.error().to_string();
  }
};

TEST_F(CallShapeTest, SolvesAxesAndKnowsThemAgain) {
  EXPECT_EQ(must(shape_.solve({inputs_, outputs_})), CallShape::Match::kNew);
  EXPECT_EQ(must(shape_.solve({inputs_, outputs_})), CallShape::Match::kAsBefore);
  inputs_[4] = tensor({6});
  EXPECT_EQ(must(shape_.solve({inputs_, outputs_})), CallShape::Match::kNew);
}

TEST_F(CallShapeTest, SizesThatDisagreeAreNamed) {
  inputs_[2] = tensor({7, 1, 2, 64});
  EXPECT_EQ(refusal(),
            "gqa_paged_decode_h4_kv2_d64_ps1: input 'v_cache' has 'num_pages' = 7, it is 8");
}

TEST_F(CallShapeTest, RankIsNamed) {
  inputs_[0] = tensor({2, 256});
  EXPECT_EQ(refusal(),
            "gqa_paged_decode_h4_kv2_d64_ps1: input 'q' has 2 dimensions, the signature says "
            "[batch_size, num_qo_heads, head_dim]");
}

TEST_F(CallShapeTest, OutputsAreChecked) {
  outputs_[1] = tensor({2, 5});
  EXPECT_EQ(refusal(),
            "gqa_paged_decode_h4_kv2_d64_ps1: output 'lse' has 'num_qo_heads' = 5, it is 4");
  outputs_.pop_back();
  EXPECT_EQ(refusal(), "gqa_paged_decode_h4_kv2_d64_ps1: 1 outputs given, it has 2");
}

TEST_F(CallShapeTest, ScalarsAreNumbers) {
  inputs_[5] = Operand::value(NAN);
  EXPECT_EQ(refusal(), "gqa_paged_decode_h4_kv2_d64_ps1: input 'sm_scale' is nan");
  inputs_[5] = tensor({});
  EXPECT_EQ(refusal(),
            "gqa_paged_decode_h4_kv2_d64_ps1: input 'sm_scale' is a tensor, the signature takes a "
            "number");
}

TEST_F(CallShapeTest, ConstraintsOverAxesHold) {
  inputs_[3] = tensor({4});
  EXPECT_EQ(refusal(),
            "gqa_paged_decode_h4_kv2_d64_ps1: the constraint 'len_indptr == batch_size + 1' is "
            "false for batch_size=2, len_indptr=4");
}

TEST_F(CallShapeTest, NegativeSizesAndMissingDataAreErrors) {
  inputs_[4] = tensor({-5});
  EXPECT_EQ(refusal(),
            "gqa_paged_decode_h4_kv2_d64_ps1: input 'kv_indices' has a negative size for "
            "'num_kv_indices': -5");
  inputs_[4] = Operand::tensor(nullptr, {5});
  EXPECT_EQ(refusal(), "gqa_paged_decode_h4_kv2_d64_ps1: input 'kv_indices' has no data");
  inputs_[4] = Operand::tensor(nullptr, {0});
  EXPECT_EQ(refusal(), "solved");
}

TEST_F(CallShapeTest, ARefusedCallIsNotRemembered) {
  must(shape_.solve({inputs_, outputs_}));
  const std::vector<int64_t> before(shape_.axes().begin(), shape_.axes().end());
  inputs_[3] = tensor({4});
  EXPECT_NE(refusal(), "solved");
  EXPECT_TRUE(std::equal(before.begin(), before.end(), shape_.axes().begin()));
}

TEST(CallShapeOfMoe, WeightsAloneLeaveTheTokensOpen) {
  const SignaturePtr moe = must(catalog().find("moe_int4_g32_topk4_e32_h256_i128"));
  const CallShape shape = must(CallShape::of(moe));
  std::vector<Operand> inputs;
  std::vector<int64_t> sizes;
  for (const Axis& axis : moe->axes) {
    sizes.push_back(axis.kind == Axis::Kind::kConst ? axis.value : 1);
  }
  for (const TensorSpec& input : moe->inputs) {
    inputs.push_back(moe->is_weight(input.name) ? shaped_operand(*moe, input, sizes) : Operand{});
    if (moe->is_weight(input.name)) inputs.back().data = kMemory;
  }
  EXPECT_EQ(must(shape.solve_weights(inputs)), sizes);
  const auto short_by_all = shape.solve_weights(std::span(inputs).first(2));
  ASSERT_FALSE(short_by_all);
}

}  // namespace
}  // namespace fib
