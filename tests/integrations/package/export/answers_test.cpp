// What built packages compute, held against the reference.

#include "integrations/package/package_dispatch.h"
#include "tests/integrations/package/export/export_fixture.h"

namespace fib {
namespace {

class AnswersTest : public testing::TestWithParam<const char*> {};

TEST_P(AnswersTest, AreRight) {
#ifndef __x86_64__
  if (std::string_view(GetParam()) != "native") GTEST_SKIP() << "the levels are x86-64's";
#else
  if (std::string_view(GetParam()) == "x86-64-v3" && __builtin_cpu_supports("x86-64-v3") == 0) {
    GTEST_SKIP() << "this processor is older";
  }
#endif
  ScratchFolder folder;
  PackageSpec spec = cpu_spec({{.name = "rmsnorm_h128"}, {.name = "gemm_bf16_n128_k256"}});
  spec.cpu_levels = {GetParam()};
  must(build_package(spec, package_options(), folder / "package", nullptr));

  const auto device = must(open_cpu_device(2));
  const auto dispatch = must(open_package_dispatch(
      *device, must(PackageLibrary::open(folder / "package", folder / "cache")),
      {.house = house_options(), .missing = PackageDispatchOptions::Missing::kIsError}));
  for (const auto& [signature, axis] :
       {std::pair("rmsnorm_h128", "batch_size"), {"gemm_bf16_n128_k256", "M"}}) {
    Kernel* kernel = must(dispatch->resolve({.name = signature}));
    for (const int64_t rows : {0, 1, 7, 33}) {
      DeviceProblem problem(*device, signature, {{axis, rows}});
      const auto prepared = must(kernel->prepare(problem.inputs()));
      problem.clear_outputs();
      must(kernel->run(problem.call(prepared.get())));
      problem.expect_right();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AnswersTest, testing::Values("native", "x86-64-v3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fib
