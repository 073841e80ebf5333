#include "harness/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "harness/thread_pool.h"

namespace fib {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::byte> stored(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(storage_bytes(dtype, static_cast<int64_t>(values.size())));
  for (size_t i = 0; i < values.size(); ++i) {
    store_element(dtype, bytes.data(), static_cast<int64_t>(i), values[i]);
  }
  return bytes;
}

ErrorStats compare(const std::vector<float>& candidate, const std::vector<float>& reference,
                   double bound = 0.05, int64_t row_length = 4, DType dtype = DType::kFloat32) {
  return compare_output(dtype, stored(dtype, candidate),
                        make_reference_values({reference.begin(), reference.end()}, row_length,
                                              parallel_on(2)),
                        bound, parallel_on(2));
}

TEST(Compare, EqualOutputsHaveNoError) {
  const ErrorStats stats = compare({1, -2, 3, 4}, {1, -2, 3, 4});
  EXPECT_EQ(stats.count, 4);
  EXPECT_EQ(stats.first_bad_index, -1);
  EXPECT_EQ(stats.relative_rms_error(), 0.0);
  EXPECT_EQ(stats.histogram[0], 4);
}

TEST(Compare, NanAndInfinityMustMatchPositionWise) {
  EXPECT_EQ(compare({kNan, kInf, -kInf, 1}, {kNan, kInf, -kInf, 1}).nonfinite_mismatches, 0);
  EXPECT_EQ(compare({1, 1, 1, 1}, {kNan, kInf, 1, 1}).nonfinite_mismatches, 2);
  const ErrorStats stats = compare({1, kNan, 1, -kInf}, {1, 1, 1, kInf});
  EXPECT_EQ(stats.nonfinite_mismatches, 2);
  EXPECT_EQ(stats.first_bad_index, 1);
}

TEST(Compare, AWrongRowOfSmallValuesIsSeenBesideLargeOnes) {
  // The second row is dropped altogether; against the whole output's RMS that is only 0.7 %.
  const std::vector<float> reference = {100, -100, 100, -100, 1, -1, 1, -1};
  const ErrorStats stats = compare({100, -100, 100, -100, 0, 0, 0, 0}, reference);
  EXPECT_EQ(stats.elements_over_bound, 4);
  EXPECT_EQ(stats.first_bad_index, 4);
  EXPECT_DOUBLE_EQ(stats.max_normalised_error, 1.0);
}

TEST(Compare, AnAllZeroReferenceAcceptsOnlyZeros) {
  EXPECT_EQ(compare({0, 0, 0, 0}, {0, 0, 0, 0}).elements_over_bound, 0);
  const ErrorStats stats = compare({0, 1e-30f, 0, 0}, {0, 0, 0, 0});
  EXPECT_EQ(stats.elements_over_bound, 1);
  EXPECT_EQ(stats.relative_rms_error(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(stats.histogram[kErrorBins - 1], 1);
}

TEST(Compare, OfIntegersOnlyTheValueItselfIsRight) {
  // Off by one in 150,000 is far below any bound on floating-point errors.
  ReferenceValues reference = make_reference_values({151'000, 150'999, 7}, 3, parallel_on(1));
  accept_only_exact(reference);
  const auto over = [&](const std::vector<float>& ids) {
    return compare_output(DType::kInt32, stored(DType::kInt32, ids), reference, 0.05,
                          parallel_on(1))
        .elements_over_bound;
  };
  EXPECT_EQ(over({151'000, 150'999, 7}), 0);
  EXPECT_EQ(over({151'000, 151'000, 7}), 1);
  EXPECT_EQ(over({150'999, 151'000, 7}), 2);
}

TEST(Compare, ManyChunksOnManyThreadsSeeEveryElementOnce) {
  constexpr int64_t kCount = 100'003;
  std::vector<float> reference(kCount, 2.0f), candidate(kCount, 2.0f);
  candidate[77'777] = 3.0f;
  candidate[99'999] = kNan;
  const ErrorStats stats = compare(candidate, reference, 0.05, 1000);
  EXPECT_EQ(stats.count, kCount);
  EXPECT_EQ(stats.first_bad_index, 77'777);
  EXPECT_EQ(stats.elements_over_bound, 1);
  EXPECT_EQ(stats.nonfinite_mismatches, 1);
  EXPECT_DOUBLE_EQ(stats.max_absolute_error, 1.0);
  EXPECT_DOUBLE_EQ(stats.sum_squared_error, 1.0);
}

TEST(Compare, ReadsTheCandidatesOwnType) {
  const ErrorStats stats = compare({1.0f, 257.0f, 3, 4}, {1.0f, 257.0f, 3, 4}, 0.05, 4,
                                   DType::kBFloat16);  // 257 rounds to 256
  EXPECT_DOUBLE_EQ(stats.max_absolute_error, 1.0);
}

TEST(HonestRatio, ComparesWithTheYardstickButNotWithLuck) {
  ErrorStats honest{.count = 1}, candidate{.count = 1};
  honest.sum_squared_reference = candidate.sum_squared_reference = 1.0;
  honest.sum_squared_error = 1e-6;    // relative RMS 1e-3
  candidate.sum_squared_error = 9e-6;  // 3e-3
  EXPECT_NEAR(honest_ratio(candidate, honest, DType::kBFloat16), 3.0, 1e-9);
  honest.sum_squared_error = 0.0;  // exact by luck: a quarter of bf16's roundoff counts instead
  EXPECT_NEAR(honest_ratio(candidate, honest, DType::kBFloat16),
              3e-3 / (unit_roundoff(DType::kBFloat16) / 4), 1e-9);
}

}  // namespace
}  // namespace fib
