// A kernel that never ends, on a card: it is reported, and the process still ends by itself. Skips,
// with a message, where there is no card.

#include <cstdio>
#include <cstdlib>

#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

constexpr double kStepTimeoutS = 0.5;

constexpr const char* kEndless = R"(
extern "C" __global__ void endless(const unsigned short* output) {
  while (*static_cast<const volatile unsigned short*>(output) != 0x1234) __nanosleep(1000);
}
)";
constexpr const char* kPlan = R"(
#include <fib/plan.h>
static void plan_it(const fib::PlanProblem& problem, fib::Plan& plan) {
  plan.launch("endless").grid(1).block(32).arg(problem.output("output"));
}
FIB_EXPORT_PLAN(plan_it)
)";

// Everything that a server holds, with the card in the middle of a kernel, and all of it destroyed.
void hang() {
  ScratchFolder scratch;
  const Solution solution{.name = "endless",
                          .definition = "rmsnorm",
                          .author = "test",
                          .target_hardware = {"cuda"},
                          .entry_point = "kernel.cu::endless",
                          .sources = {{"kernel.cu", kEndless}, {"plan.cpp", kPlan}},
                          .fib = {{"target", "cuda"},
                                  {"entry", "kernel.cu"},
                                  {"plan", "plan.cpp"},
                                  {"kernels", {"endless"}},
                                  {"license", "Apache-2.0"}}};
  must(write_solution_folder(solution, scratch.path() / "cuda/rmsnorm/endless"));
  const auto device = must(open_cuda_device(0, kStepTimeoutS));
  HouseDispatchOptions options = house_options();
  options.solutions = scratch.path();
  const auto dispatch = must(open_house_dispatch(*device, options));
  Kernel& endless = *must(dispatch->resolve({"rmsnorm_h256"}));
  DeviceProblem problem(*device, "rmsnorm_h256", {{"batch_size", 1}});
  const HostArray host = must(device->allocate_host(64));
  problem.clear_outputs();
  const auto graph = must(dispatch->capture([&] { return endless.run(problem.call()); }));
  must(graph->launch());
  must(endless.run(problem.call()));
  const auto waited = device->synchronize();
  std::fputs(waited ? "it ended" : waited.error().to_string().c_str(), stderr);
}

TEST(CudaHangDeathTest, IsReportedAndTheProcessEnds) {
  if (const auto device = open_cuda_device(0); !device) {
    GTEST_SKIP() << device.error().to_string();
  }
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // the driver doesn't survive a fork
  EXPECT_EXIT(
      {
        hang();
        std::exit(EXIT_SUCCESS);
      },
      testing::ExitedWithCode(EXIT_SUCCESS), "did not finish a step in 0.5 s: a kernel hangs");
}

}  // namespace
}  // namespace fib
