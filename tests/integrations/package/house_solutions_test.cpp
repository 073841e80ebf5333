#include "integrations/package/house_solutions.h"

#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

using testing::HasSubstr;

std::vector<std::string> names_for(const std::string& target, const std::string& signature) {
  const HouseSolutions house = must(HouseSolutions::read(house_options().solutions, target));
  std::vector<std::string> names;
  for (const Solution* solution : must(house.for_signature(*must(catalog().find(signature))))) {
    names.push_back(solution->name);
  }
  return names;
}

TEST(HouseSolutionsTest, TheBetterOneGoesFirst) {
  EXPECT_THAT(names_for("cuda", "gemm_n4096_k4096"),
              testing::ElementsAre("gemm-wgmma", "gemm-mma"));
  EXPECT_THAT(names_for("cuda", "gemm_bf16_n2048_k4096"),
              testing::ElementsAre("gemm-bf16-hopper", "gemm-bf16-mma"));
  EXPECT_EQ(names_for("cuda", "rmsnorm_h4096").front(), "rmsnorm-rows");
  EXPECT_EQ(names_for("cpu", "rmsnorm_h4096").front(), "rmsnorm-rows");
}

// A signature that two solutions serve must have its preference written down.
TEST(HouseSolutionsTest, NoSignatureIsAmbiguous) {
  for (const char* target : {"cpu", "cuda"}) {
    const HouseSolutions house = must(HouseSolutions::read(house_options().solutions, target));
    for (const SignaturePtr& signature : catalog().all()) {
      const auto chosen = house.for_signature(*signature);
      EXPECT_TRUE(chosen || chosen.error().code == ErrorCode::kNotFound)
          << chosen.error().to_string();
    }
  }
}

TEST(HouseSolutionsTest, TwoEqualsAreAConflict) {
  const ScratchFolder scratch;
  for (const char* name : {"one", "other"}) {
    write_cpu_solution(scratch.path(), "rmsnorm", name, "int nothing = 0;\n");
  }
  const HouseSolutions house = must(HouseSolutions::read(scratch.path(), "cpu"));
  const auto chosen = house.for_signature(*must(catalog().find("rmsnorm_h256")));
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, ErrorCode::kConflict);
  EXPECT_THAT(chosen.error().to_string(), HasSubstr("both 'one' and 'other' serve it"));
}

TEST(HouseSolutionsTest, ADamagedSolutionIsNamed) {
  const ScratchFolder scratch;
  write_cpu_solution(scratch.path(), "rmsnorm", "one", "int nothing = 0;\n");
  std::filesystem::remove(scratch.path() / "cpu/rmsnorm/one/solution.cpp");
  const auto read = HouseSolutions::read(scratch.path(), "cpu");
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().to_string(), HasSubstr("solution.cpp"));
}

}  // namespace
}  // namespace fib
