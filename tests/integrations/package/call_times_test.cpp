// What the metrics tap counts, on the cpu target, where the host's clock is the device's.

#include "integrations/package/call_times.h"

#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

class CallTimesTest : public testing::Test {
 protected:
  std::unique_ptr<ServingDevice> device_ = must(open_cpu_device(1));
  std::unique_ptr<Dispatch> dispatch_ = must(open_house_dispatch(*device_, house_options()));
  DeviceProblem problem_{*device_, "rmsnorm_h256", {{"batch_size", 4}}};
};

TEST_F(CallTimesTest, SampledCallsAreTimedOnTheDevice) {
  Kernel& norm = *must(dispatch_->resolve({"rmsnorm_h256"}));
  const CallTimes times(*dispatch_);
  const auto twice = [&]() -> Result<void> {
    FIB_CHECK(norm.run(problem_.call()));
    return norm.run(problem_.call());
  };
  must(twice());
  ASSERT_EQ(times.read().size(), 1u);
  EXPECT_EQ(times.read()[0].sampled_calls, 0u);
  EXPECT_EQ(times.read()[0].device_s, 0.0);

  must(dispatch_->time_calls(twice));
  must(twice());
  ASSERT_EQ(times.read().size(), 1u);
  const CallTime time = times.read()[0];
  EXPECT_EQ(time.signature, "rmsnorm_h256");
  EXPECT_EQ(time.solution, "rmsnorm-rows");
  EXPECT_EQ(time.calls, 6u);
  EXPECT_EQ(time.sampled_calls, 2u);
  EXPECT_GT(time.device_s, 0.0);
  EXPECT_LT(time.device_s, time.host_s) << "a part of the calls, within what the host saw of them";
}

// Two series of one name would be refused by who collects them.
TEST_F(CallTimesTest, KernelsThatDifferInAParameterAreOne) {
  const CallTimes times(*dispatch_);
  for (const double eps : {1e-6, 1e-5}) {
    must(must(dispatch_->resolve({"rmsnorm_h256", {{"eps", eps}}}))->run(problem_.call()));
  }
  ASSERT_EQ(times.read().size(), 1u);
  EXPECT_EQ(times.read()[0].calls, 2u);
}

}  // namespace
}  // namespace fib
