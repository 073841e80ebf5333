// Specifications that no package can be built of.

#include "integrations/package/export/check_spec.h"

#include "integrations/package/export/cpu_levels.h"
#include "integrations/package/export/symbol_names.h"
#include "tests/integrations/package/export/export_fixture.h"

namespace fib {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

PackageSpec good() {
  return spec_of(cpu_solution("mine", "rmsnorm", "// not compiled here"), "rmsnorm_h128");
}

std::string refusal(const PackageSpec& spec) {
  const auto checked = check_package_spec(spec);
  return checked ? "" : checked.error().to_string();
}

BucketChoice bucket(int64_t low, int64_t high) {
  return {.where = {{.axis = "batch_size", .low = low, .high = high}}};
}

std::string refusal_of_buckets(std::vector<BucketChoice> buckets) {
  PackageSpec spec = good();
  spec.signatures[0].hardware = {
      {.hardware = "card", .target = "cpu", .buckets = std::move(buckets)}};
  return refusal(spec);
}

TEST(CheckSpec, AcceptsWhatIsRight) {
  EXPECT_EQ(refusal(good()), "");
  EXPECT_EQ(refusal_of_buckets({bucket(1, 4), bucket(5, 8)}), "");
  EXPECT_EQ(refusal(cpu_spec({{.name = "rmsnorm_h128"}})), "");
}

TEST(CheckSpec, RefusesNamesAndTargetsThatArentAny) {
  PackageSpec spec = good();
  spec.name = "../up";
  EXPECT_THAT(refusal(spec), HasSubstr("can't name a package"));
  spec = good();
  spec.version = "1/2";
  EXPECT_THAT(refusal(spec), HasSubstr("can't name a package"));
  spec = good();
  spec.cpu_levels = {};
  EXPECT_THAT(refusal(spec), HasSubstr("neither for a card nor for a processor"));
  spec.cpu_levels = {"x86-64-v9"};
  EXPECT_THAT(refusal(spec), AllOf(HasSubstr("no processor level 'x86-64-v9'"),
                                   HasSubstr("native, x86-64-v4-amx, x86-64-v4-bf16, x86-64-v4, "
                                             "x86-64-v3")));
  for (const char* architecture : {"sm_9", "sm_120f", "90a", "sm_", "sm_90aa"}) {
    spec = good();
    spec.cuda_architectures = {architecture};
    EXPECT_THAT(refusal(spec), HasSubstr("is no architecture (write it as sm_90a)"));
  }
}

TEST(CheckSpec, RefusesASolutionWithoutALicence) {
  PackageSpec spec = good();
  spec.signatures[0].solutions[0].fib.erase("license");
  EXPECT_THAT(refusal(spec),
              AllOf(HasSubstr("solution 'mine'"), HasSubstr("licence"), HasSubstr("\"license\"")));
}

TEST(CheckSpec, RefusesSignaturesThatNothingServes) {
  PackageSpec spec = good();
  spec.signatures.clear();
  EXPECT_THAT(refusal(spec), HasSubstr("without a signature"));
  spec = good();
  spec.signatures[0].cpu_fallback = {};
  EXPECT_THAT(refusal(spec), HasSubstr("no solution would serve it"));
  spec = good();
  spec.cpu_levels = {};
  spec.cuda_architectures = {"sm_90a"};
  EXPECT_THAT(refusal(spec), HasSubstr("no solution would serve it"));
  spec = good();
  spec.signatures.push_back(spec.signatures[0]);
  EXPECT_THAT(refusal(spec), HasSubstr("stands in the list twice"));
}

TEST(CheckSpec, RefusesSolutionsOfOthers) {
  PackageSpec spec = good();
  spec.signatures[0].solutions[0].definition = "argmax";
  EXPECT_THAT(refusal(spec), HasSubstr("'mine' was written for argmax"));
  spec = good();
  spec.signatures[0].cpu_fallback = {1};
  EXPECT_THAT(refusal(spec), HasSubstr("there is no solution 1"));
  spec = good();
  spec.signatures[0].cuda_fallback = {0};
  EXPECT_THAT(refusal(spec), HasSubstr("'mine' is no solution for cuda"));
  spec = good();
  spec.signatures[0].own_parameters = {};
  EXPECT_THAT(refusal(spec), HasSubstr("its own parameters"));
  spec = good();
  spec.signatures[0].solutions[0].fib = nullptr;  // of somebody's dataset
  EXPECT_NE(refusal(spec), "");
}

TEST(CheckSpec, RefusesBucketsThatArentAny) {
  EXPECT_THAT(refusal_of_buckets({bucket(1, 4), bucket(4, 8)}),
              HasSubstr("rmsnorm_h128 on card: buckets 1 and 2 overlap"));
  EXPECT_THAT(refusal_of_buckets({bucket(5, 4)}), HasSubstr("batch_size 5..4 is no range"));
  EXPECT_THAT(refusal_of_buckets({bucket(-1, 4)}), HasSubstr("is no range"));
  BucketChoice other = bucket(1, 4);
  other.where[0].axis = "hidden_size";
  EXPECT_THAT(refusal_of_buckets({other}), HasSubstr("'hidden_size' is no axis that varies"));
  other = bucket(1, 4);
  other.where.push_back(other.where[0]);
  EXPECT_THAT(refusal_of_buckets({other}), HasSubstr("not the only one"));
  other = bucket(1, 4);
  other.solution = 3;
  EXPECT_THAT(refusal_of_buckets({other}), HasSubstr("there is no solution 3"));
}

TEST(CheckSpec, RefusesWinnersWithoutAFallback) {
  PackageSpec spec = good();
  spec.signatures[0].hardware = {{.hardware = "card", .target = "cpu", .buckets = {bucket(1, 4)}}};
  spec.signatures[0].cpu_fallback = {};
  EXPECT_THAT(refusal(spec), HasSubstr("no solution that takes any shape"));
  spec = good();
  spec.signatures[0].hardware = {{.hardware = "card", .target = "tpu"}};
  EXPECT_THAT(refusal(spec), HasSubstr("no target 'tpu'"));
}

TEST(HouseSpec, TakesEachSignatureOnceInTheHousesOrder) {
  const PackageSpec spec = cpu_spec({{.name = "rmsnorm_h128"},
                                     {.name = "rmsnorm_h128"},
                                     {.name = "rmsnorm_h128", .parameters = {{"eps", 0.25}}},
                                     {.name = "argmax_v512"}});
  ASSERT_EQ(spec.signatures.size(), 3u);
  EXPECT_EQ(spec.signatures[0].solutions[0].name, "rmsnorm-rows");
  EXPECT_THAT(spec.signatures[0].cpu_fallback, ElementsAre(0, 1));
  EXPECT_EQ(spec.signatures[1].signature->fib.parameters.at("eps"), 0.25);
  EXPECT_EQ(spec.signatures[1].own_parameters, spec.signatures[0].own_parameters);
  EXPECT_THAT(tvm_ffi_names(spec),
              ElementsAre("rmsnorm_h128", "rmsnorm_h128_eps_0_25", "argmax_v512"));
}

TEST(HouseSpec, RefusesWhatTheHouseHasNot) {
  const auto spec_for = [](const SignatureRequest& request) {
    return house_package_spec({request}, catalog(), house("cpu"));
  };
  EXPECT_EQ(spec_for({.name = "no_such"}).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(
      spec_for({.name = "rmsnorm_h128", .parameters = {{"epsilon", 1.0}}}).error().to_string(),
      HasSubstr("it has: 'eps'"));
}

// Names of other people's signatures are no C identifiers, and may meet as such.
TEST(TvmFfiNames, AreIdentifiersAndDiffer) {
  PackageSpec spec;
  for (const char* name : {"a.b", "a-b", "a_b", "a_b_2", "x", "x_prepare", "größe"}) {
    auto signature = std::make_shared<Signature>();
    signature->name = name;
    spec.signatures.push_back({.signature = signature});
  }
  EXPECT_THAT(tvm_ffi_names(spec),
              ElementsAre("a_b", "a_b_2", "a_b_3", "a_b_2_2", "x", "x_prepare_2", "gr____e"));
}

TEST(CpuLevels, StandBestFirst) {
  EXPECT_THAT(
      sorted_cpu_levels({"x86-64-v3", "native", "x86-64-v4-bf16", "x86-64-v3", "x86-64-v4-amx"}),
      ElementsAre("native", "x86-64-v4-amx", "x86-64-v4-bf16", "x86-64-v3"));
}

}  // namespace
}  // namespace fib
