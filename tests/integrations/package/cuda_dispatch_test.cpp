// House kernels on a card through the dispatch. Skips, with a message, where there is none.

#include <thread>

#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

using testing::ElementsAre;

class CudaDispatchTest : public testing::Test {
 protected:
  void SetUp() override {
    auto device = open_cuda_device(0);
    if (!device) GTEST_SKIP() << device.error().to_string();
    device_ = *std::move(device);
    auto dispatch = open_house_dispatch(*device_, house_options());
    if (!dispatch) GTEST_SKIP() << dispatch.error().to_string();
    dispatch_ = *std::move(dispatch);
  }
  Kernel& kernel(const std::string& name) { return *must(dispatch_->resolve({name})); }

  std::unique_ptr<ServingDevice> device_;
  std::unique_ptr<Dispatch> dispatch_;
};

struct Case {
  std::string signature;
  DeviceProblem::Axes axes;
};

class CudaHouseKernelTest : public CudaDispatchTest, public testing::WithParamInterface<Case> {};

TEST_P(CudaHouseKernelTest, AgreesWithTheReference) {
  DeviceProblem problem(*device_, GetParam().signature, GetParam().axes);
  problem.clear_outputs();
  const auto ran = kernel(GetParam().signature).run(problem.call());
  ASSERT_TRUE(ran) << ran.error().to_string();
  problem.expect_right();
}

TEST_P(CudaHouseKernelTest, AgreesWhereThePlanMayNotKnowTheValues) {
  DeviceProblem problem(*device_, GetParam().signature, GetParam().axes);
  KernelCall call = problem.call();
  call.values = InputValues::kOfEachLaunch;
  problem.clear_outputs();
  const auto ran = kernel(GetParam().signature).run(call);
  ASSERT_TRUE(ran) << ran.error().to_string();
  problem.expect_right();
}

// Captured on one set of values, launched on another.
TEST_P(CudaHouseKernelTest, AReplayedGraphReadsWhatIsThereThen) {
  DeviceProblem problem(*device_, GetParam().signature, GetParam().axes, 1);
  DeviceProblem other(*device_, GetParam().signature, GetParam().axes, 2);
  KernelCall call = problem.call();
  call.values = InputValues::kOfEachLaunch;
  Kernel& tested = kernel(GetParam().signature);
  must(tested.run(call));
  const auto graph = must(dispatch_->capture([&] { return tested.run(call); }));
  must(device_->synchronize());
  for (size_t i = 0; i < problem.inputs().size(); ++i) {
    const TensorDesc& desc = problem.problem().inputs[i];
    if (desc.is_host_scalar) continue;
    must(device_->copy(problem.inputs()[i].data, other.inputs()[i].data, desc.size_bytes()));
  }
  problem.clear_outputs();
  must(graph->launch());
  must(kernel(GetParam().signature).run(other.call()));
  for (size_t i = 0; i < problem.outputs().size(); ++i) {
    EXPECT_EQ(problem.output(i), other.output(i)) << problem.problem().outputs[i].name;
  }
  other.expect_right();
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaHouseKernelTest,
    testing::Values(Case{"rmsnorm_h256", {{"batch_size", 7}}},
                    Case{"fused_add_rmsnorm_h256", {{"batch_size", 3}}},
                    Case{"gemm_n256_k256", {{"M", 5}}},
                    Case{"gqa_paged_decode_h4_kv2_d64_ps1",
                         {{"batch_size", 3}, {"num_pages", 4096}, {"num_kv_indices", 3000}}},
                    Case{"gqa_paged_decode_h4_kv2_d64_ps16",
                         {{"batch_size", 3}, {"num_pages", 512}, {"num_kv_indices", 300}}},
                    Case{"moe_int4_g32_topk4_e32_h256_i128", {{"num_tokens", 6}}}),
    [](const auto& info) { return info.param.signature; });

TEST_F(CudaDispatchTest, RandomWeightsAreThoseOfTheCpu) {
  const auto cpu = must(open_cpu_device(2));
  for (const float scale : {0.25f, 0.0f}) {
    constexpr size_t kBytes = 200'000;
    const DeviceArray here = must(cpu->allocate(kBytes)), there = must(device_->allocate(kBytes));
    must(cpu->fill_random(here.data(), kBytes, scale, 5));
    must(device_->fill_random(there.data(), kBytes, scale, 5));
    std::vector<std::byte> back(kBytes);
    must(device_->download(back.data(), there.data(), kBytes));
    must(device_->synchronize());
    EXPECT_TRUE(std::equal(back.begin(), back.end(), here.data())) << "scale " << scale;
  }
}

TEST_F(CudaDispatchTest, TapsSeeTheCallsOfAGraphAtEachLaunch) {
  Kernel& norm = kernel("rmsnorm_h256");
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 4}});
  NotingTap tap;
  dispatch_->add_tap(tap);
  must(norm.run(problem.call()));
  const auto graph = must(dispatch_->capture([&] { return norm.run(problem.call()); }));
  must(graph->launch());
  must(graph->launch());
  must(device_->synchronize());
  EXPECT_THAT(tap.first_sizes, ElementsAre(4, 4, 4));
  dispatch_->remove_tap(tap);
}

TEST_F(CudaDispatchTest, AnotherThreadMayGoOn) {
  Kernel& norm = kernel("rmsnorm_h256");
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 4}});
  std::thread([&] {
    must(norm.run(problem.call()));
    must(device_->synchronize());
  }).join();
  problem.expect_right();
}

TEST_F(CudaDispatchTest, MoreThanThereIsIsRefused) {
  const auto refused = device_->allocate(size_t{1} << 46);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
}

TEST(CudaDevices, ADeviceThatIsNotThereHasARemedy) {
  const auto refused = open_cuda_device(1000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kEnvironment);
  EXPECT_FALSE(refused.error().remedy.empty());
}

}  // namespace
}  // namespace fib
