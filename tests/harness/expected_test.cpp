#include "harness/expected.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/harness/fake_problem.h"

namespace fib {
namespace {

class ExpectedCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("fib-expected-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    problem_ = testing::small_problem(3);
    plan_ = plan_inputs(problem_).value();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path only_file() const {
    return std::filesystem::directory_iterator(folder_)->path();
  }

  std::filesystem::path folder_;
  Problem problem_;
  InputPlan plan_;
};

TEST_F(ExpectedCacheTest, GivesTheReferenceAndAnHonestYardstick) {
  ExpectedCache cache({}, 0, 1 << 20);
  const ExpectedPtr expected = cache.get(problem_, with_seed(plan_, 1), 2).value();
  ASSERT_EQ(expected->outputs.size(), 1u);
  EXPECT_EQ(expected->outputs[0].exact.values.size(), 24u);
  EXPECT_EQ(expected->outputs[0].exact.row_length, 8);
  // Rounding to bf16 leaves about 2^-9 / sqrt(3).
  EXPECT_GT(expected->outputs[0].honest.relative_rms_error(), 1e-4);
  EXPECT_LT(expected->outputs[0].honest.relative_rms_error(), 4e-3);
}

TEST_F(ExpectedCacheTest, TheSameQuestionIsAnsweredFromMemoryOtherSeedsAreNot) {
  ExpectedCache cache({}, 0, 1 << 20);
  const ExpectedPtr first = cache.get(problem_, with_seed(plan_, 1), 1).value();
  EXPECT_EQ(cache.get(problem_, with_seed(plan_, 1), 1).value(), first);
  const ExpectedPtr other = cache.get(problem_, with_seed(plan_, 2), 1).value();
  EXPECT_NE(other->outputs[0].exact.values, first->outputs[0].exact.values);
}

TEST_F(ExpectedCacheTest, DiskAnswersANewProcessAndADamagedFileIsReplaced) {
  const InputSet inputs = with_seed(plan_, 1);
  const ExpectedPtr first = ExpectedCache(folder_, 1 << 20, 0).get(problem_, inputs, 1).value();
  const ExpectedPtr second = ExpectedCache(folder_, 1 << 20, 0).get(problem_, inputs, 1).value();
  EXPECT_EQ(second->outputs[0].exact.values, first->outputs[0].exact.values);
  EXPECT_DOUBLE_EQ(second->outputs[0].honest.sum_squared_error,
                   first->outputs[0].honest.sum_squared_error);

  std::ofstream(only_file(), std::ios::trunc) << "truncated";
  const ExpectedPtr third = ExpectedCache(folder_, 1 << 20, 0).get(problem_, inputs, 1).value();
  EXPECT_EQ(third->outputs[0].exact.values, first->outputs[0].exact.values);
}

TEST_F(ExpectedCacheTest, KeepsWithinItsDiskBudget) {
  ExpectedCache cache(folder_, 8192, 0);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    ASSERT_TRUE(cache.get(problem_, with_seed(plan_, seed), 1));
  }
  size_t total = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder_)) total += file.file_size();
  EXPECT_GT(total, 0u);
  EXPECT_LE(total, 8192u);
}

TEST_F(ExpectedCacheTest, ASignatureWithoutReferenceIsNamed) {
  auto signature = std::make_shared<Signature>(*problem_.signature);
  signature->fib.reference = "no-such-reference";
  problem_.signature = signature;
  ExpectedCache cache({}, 0, 0);
  const auto result = cache.get(problem_, with_seed(plan_, 1), 1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(result.error().to_string().find("no-such-reference"), std::string::npos);
  EXPECT_NE(result.error().to_string().find("rmsnorm_h8"), std::string::npos);
}

}  // namespace
}  // namespace fib
