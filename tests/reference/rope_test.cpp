// Rotation and append, against evaluations written out by hand.

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "signatures/catalog.h"
#include "tests/reference/error_size.h"
#include "tests/workloads/inputs_fixture.h"

namespace fib {
namespace {

using Row = std::vector<double>;
constexpr int64_t kTokens = 11, kQoHeads = 4, kKvHeads = 2, kDim = 6, kRows = 5 * 4;
constexpr int64_t kHeads = kQoHeads + 2 * kKvHeads;

Problem problem_of(const std::string& family) {
  const Catalog catalog =
      *Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions");
  return make_problem(
      *catalog.find(family + "_h4_kv2_d6_ps4"),
      R"({"uuid": "u", "inputs": {},
          "axes": {"num_tokens": 11, "max_positions": 50, "num_pages": 5}})");
}

class RopeTest : public testing::TestWithParam<std::string> {
 protected:
  bool has_norm() const { return GetParam() == "qk_norm_rope_append"; }

  // A head [kDim] of `token`, normalised with the named weight and turned.
  Row turned(int64_t token, int64_t head, const std::string& weight) const {
    const Row qkv = values_of(inputs_, "qkv"), table = values_of(inputs_, "cos_sin");
    const auto position = static_cast<int64_t>(values_of(inputs_, "positions")[token]);
    Row x(qkv.begin() + (token * kHeads + head) * kDim,
          qkv.begin() + (token * kHeads + head + 1) * kDim);
    if (has_norm()) {
      const Row scale = values_of(inputs_, weight);
      double squares = 0.0;
      for (const double value : x) squares += value * value;
      for (int64_t i = 0; i < kDim; ++i) x[i] *= scale[i] / std::sqrt(squares / kDim + 1e-6);
    }
    Row out(kDim);
    for (int64_t i = 0; i < kDim; ++i) {
      const int64_t angle = i % (kDim / 2);
      const double cosine = table[position * kDim + angle];
      const double sine = table[position * kDim + kDim / 2 + angle];
      out[i] = i < kDim / 2 ? x[i] * cosine - x[i + kDim / 2] * sine
                            : x[i] * cosine + x[i - kDim / 2] * sine;
    }
    return out;
  }

  Problem problem_ = problem_of(GetParam());
  InputSet inputs_ = with_seed(plan_inputs(problem_).value(), 5);
};

TEST_P(RopeTest, TurnsQueriesAndWritesOnlyTheSlots) {
  const auto outputs = run_reference(problem_, inputs_, Precision::kExact);
  ASSERT_TRUE(outputs) << outputs.error().to_string();
  const Row slots = values_of(inputs_, "slots"), qkv = values_of(inputs_, "qkv");
  Row k_cache = values_of(inputs_, "k_cache"), v_cache = values_of(inputs_, "v_cache");
  for (int64_t token = 0; token < kTokens; ++token) {
    for (int64_t head = 0; head < kQoHeads; ++head) {
      const Row expected = turned(token, head, "q_weight");
      for (int64_t i = 0; i < kDim; ++i) {
        ASSERT_NEAR((*outputs)[0][(token * kQoHeads + head) * kDim + i], expected[i], 1e-6);
      }
    }
    for (int64_t head = 0; head < kKvHeads; ++head) {
      const Row key = turned(token, kQoHeads + head, "k_weight");
      const int64_t row = (static_cast<int64_t>(slots[token]) * kKvHeads + head) * kDim;
      std::copy(key.begin(), key.end(), k_cache.begin() + row);
      std::copy_n(qkv.begin() + (token * kHeads + kQoHeads + kKvHeads + head) * kDim, kDim,
                  v_cache.begin() + row);
    }
  }
  for (int64_t i = 0; i < kRows * kKvHeads * kDim; ++i) {
    ASSERT_NEAR((*outputs)[1][i], k_cache[i], 1e-6);
    ASSERT_EQ((*outputs)[2][i], v_cache[i]);
  }
}

TEST_P(RopeTest, HonestRoundsOnce) {
  const auto exact = run_reference(problem_, inputs_, Precision::kExact);
  const auto honest = run_reference(problem_, inputs_, Precision::kHonest);
  ASSERT_TRUE(exact && honest);
  expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16);
  EXPECT_EQ((*honest)[2], (*exact)[2]);
}

INSTANTIATE_TEST_SUITE_P(Both, RopeTest, testing::Values("qk_norm_rope_append", "rope_append"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace fib
