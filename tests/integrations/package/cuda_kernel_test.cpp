// The cuda target around its kernels, on a card made of host memory: plans, workspace, graphs,
// errors. Needs libnvrtc, because solutions are compiled for real; skips without it.

#include "integrations/package/cuda_device.h"
#include "tests/integrations/package/fake_card.h"
#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kKernels = R"(
extern "C" __global__ void lay_out(const unsigned short* weight, unsigned short* prepared) {}
extern "C" __global__ void scale_rows(const unsigned short* x, const unsigned short* weight,
                                      unsigned short* output, float* scratch, int rows) {}
)";
// Refuses 13 rows; asks for more shared memory where there are more rows.
constexpr const char* kPlan = R"(
#include <fib/plan.h>
static void plan_it(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t rows = problem.axis("batch_size");
  if (rows == 13) return plan.fail("not thirteen rows");
  const fib::PlanPointer prepared = plan.prepared(FIB_AXIS_hidden_size * 2);
  plan.launch("lay_out").arg(problem.input("weight")).arg(prepared).prepare();
  plan.launch("scale_rows").grid(rows).block(32).shared_bytes(rows * 4096)
      .arg(problem.input("hidden_states")).arg(prepared).arg(problem.output("output"))
      .arg(plan.workspace(rows * 1024)).arg((int32_t)rows);
}
FIB_EXPORT_PLAN(plan_it)
)";

class CudaKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
      GTEST_SKIP() << library.error().to_string();
    }
    device_ = std::make_unique<CudaDevice>(must(DeviceContext::open(card_.driver(), 0)));
  }

  Dispatch& house() {
    if (!dispatch_) dispatch_ = must(open_house_dispatch(*device_, house_options()));
    return *dispatch_;
  }
  // A kernel of the solution above.
  Kernel& preparing() {
    const Solution solution{.name = "preparing",
                            .definition = "rmsnorm",
                            .author = "test",
                            .target_hardware = {"cuda"},
                            .entry_point = "kernel.cu::scale_rows",
                            .sources = {{"kernel.cu", kKernels}, {"plan.cpp", kPlan}},
                            .fib = {{"target", "cuda"},
                                    {"entry", "kernel.cu"},
                                    {"plan", "plan.cpp"},
                                    {"kernels", {"lay_out", "scale_rows"}},
                                    {"license", "Apache-2.0"}}};
    must(write_solution_folder(solution, scratch_.path() / "cuda/rmsnorm/preparing"));
    HouseDispatchOptions options = house_options();
    options.solutions = scratch_.path();
    dispatch_ = must(open_house_dispatch(*device_, options));
    return *must(dispatch_->resolve({"rmsnorm_h256"}));
  }
  std::vector<unsigned> grids() const {
    std::vector<unsigned> grids;
    for (const FakeCard::Launch& launch : card_.launches) grids.push_back(launch.grid);
    return grids;
  }

  ScratchFolder scratch_;
  FakeCard card_;
  std::unique_ptr<CudaDevice> device_;
  std::unique_ptr<Dispatch> dispatch_;
};

TEST_F(CudaKernelTest, PreparedWeightsReplaceTheOriginalsThatNoStepReads) {
  Kernel& kernel = preparing();
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 3}});
  const auto prepared =
      must(kernel.prepare(std::vector<Operand>{Operand{}, problem.input("weight")}));
  ASSERT_NE(prepared, nullptr);
  EXPECT_EQ(prepared->bytes(), 512u);
  EXPECT_TRUE(prepared->replaces_originals());
  EXPECT_THAT(card_.launches, testing::SizeIs(1));
  EXPECT_EQ(card_.launches[0].symbol, "lay_out");

  problem.input("weight").data = nullptr;
  must(kernel.run(problem.call(prepared.get())));
  EXPECT_THAT(card_.launches, testing::SizeIs(2));
  EXPECT_EQ(card_.launches[1].symbol, "scale_rows");
  const auto lacking = kernel.run(problem.call());
  ASSERT_FALSE(lacking);
  EXPECT_THAT(lacking.error().to_string(), HasSubstr("rmsnorm_h256: input 'weight' has no data"));
}

TEST_F(CudaKernelTest, APlanOfLessSharedMemoryLeavesTheOthersLaunchable) {
  Kernel& kernel = preparing();
  DeviceProblem large(*device_, "rmsnorm_h256", {{"batch_size", 40}});
  DeviceProblem small(*device_, "rmsnorm_h256", {{"batch_size", 20}});
  const auto prepared = must(kernel.prepare(large.inputs()));
  card_.launches.clear();
  for (DeviceProblem* problem : {&large, &small, &large}) {
    must(kernel.run(problem->call(prepared.get())));
  }
  EXPECT_THAT(grids(), ElementsAre(40, 20, 40));
}

TEST_F(CudaKernelTest, APlansRefusalIsAnError) {
  Kernel& kernel = preparing();
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 13}});
  const auto prepared = must(kernel.prepare(problem.inputs()));
  const auto refused = kernel.run(problem.call(prepared.get()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(refused.error().to_string(),
            "rmsnorm_h256, solution 'preparing': plan.cpp: the plan fails: not thirteen rows");
}

TEST_F(CudaKernelTest, WorkspaceDoesNotGrowWhileCapturing) {
  Kernel& kernel = preparing();
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 8}});
  const auto prepared = must(kernel.prepare(problem.inputs()));
  const auto record = [&] { return kernel.run(problem.call(prepared.get())); };
  const auto early = dispatch_->capture(record);
  ASSERT_FALSE(early);
  EXPECT_THAT(early.error().to_string(), HasSubstr("run the calls once before they are captured"));
  must(record());
  EXPECT_TRUE(dispatch_->capture(record));
  EXPECT_TRUE(card_.launches.back().is_captured);
}

TEST_F(CudaKernelTest, TapsSeeTheCallsOfAGraphAtEachLaunch) {
  Kernel& norm = *must(house().resolve({"rmsnorm_h256"}));
  DeviceProblem one(*device_, "rmsnorm_h256", {{"batch_size", 1}});
  DeviceProblem two(*device_, "rmsnorm_h256", {{"batch_size", 2}});
  NotingTap tap;
  house().add_tap(tap);
  const auto graph = must(house().capture([&]() -> Result<void> {
    FIB_CHECK(norm.run(one.call()));
    return norm.run(two.call());
  }));
  EXPECT_TRUE(tap.signatures.empty()) << "nothing has run yet";
  must(graph->launch());
  must(graph->launch());
  EXPECT_EQ(card_.graph_launches, 2);
  EXPECT_THAT(tap.first_sizes, ElementsAre(1, 2, 1, 2));
  house().remove_tap(tap);
}

TEST_F(CudaKernelTest, APlanFollowsHostValuesAndDoesWithoutThem) {
  Kernel& decode = *must(house().resolve({"gqa_paged_decode_h4_kv2_d64_ps16"}));
  DeviceProblem problem(*device_, "gqa_paged_decode_h4_kv2_d64_ps16",
                        {{"batch_size", 2}, {"num_pages", 2048}, {"num_kv_indices", 1500}});
  must(decode.run(problem.call()));
  const std::vector<unsigned> with_host = grids();
  card_.launches.clear();
  must(decode.run(problem.call()));
  EXPECT_EQ(grids(), with_host);

  card_.launches.clear();
  KernelCall replayed = problem.call();
  replayed.values = InputValues::kOfEachLaunch;
  must(decode.run(replayed));
  const std::vector<unsigned> by_capacity = grids();
  EXPECT_FALSE(by_capacity.empty());
  EXPECT_NE(by_capacity, with_host) << "the plan has followed what it may not know";

  for (Operand& input : problem.inputs()) input.host = nullptr;
  card_.launches.clear();
  must(decode.run(problem.call()));
  EXPECT_EQ(grids(), by_capacity);
}

// A graph is captured while its integers are some others: taps read them at each launch.
TEST_F(CudaKernelTest, TapsReadTheHostCopiesOfALaunch) {
  class Lengths final : public CallTap {
   public:
    void on_call(const Kernel&, const KernelCall& call, double) override {
      EXPECT_EQ(call.values, InputValues::kOfEachLaunch);
      const Operand& kv_indptr = call.inputs[3];  // int32 [batch_size + 1]
      seen.push_back(static_cast<const int32_t*>(kv_indptr.host)[kv_indptr.shape[0] - 1]);
    }
    std::vector<int32_t> seen;
  };
  Kernel& decode = *must(house().resolve({"gqa_paged_decode_h4_kv2_d64_ps16"}));
  DeviceProblem problem(*device_, "gqa_paged_decode_h4_kv2_d64_ps16",
                        {{"batch_size", 2}, {"num_pages", 64}, {"num_kv_indices", 40}});
  std::vector<int32_t> offsets = {0, 3, 7};
  problem.input("kv_indptr").host = offsets.data();
  KernelCall replayed = problem.call();
  replayed.values = InputValues::kOfEachLaunch;
  const auto record = [&] { return decode.run(replayed); };
  must(record());  // workspace grows
  Lengths lengths;
  house().add_tap(lengths);
  const auto graph = must(house().capture(record));
  for (const int32_t total : {7, 23}) {
    offsets.back() = total;
    must(graph->launch());
  }
  EXPECT_THAT(lengths.seen, ElementsAre(7, 23));
  house().remove_tap(lengths);
}

TEST_F(CudaKernelTest, ABrokenDeviceIsLost) {
  Kernel& norm = *must(house().resolve({"rmsnorm_h256"}));
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 1}});
  card_.failure = CUDA_ERROR_ILLEGAL_ADDRESS;
  const auto ran = norm.run(problem.call());
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, ErrorCode::kWorkerLost);
  EXPECT_THAT(ran.error().to_string(), HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
  const auto waited = device_->synchronize();
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::kWorkerLost);
  card_.failure = CUDA_SUCCESS;
}

TEST_F(CudaKernelTest, ARefusedLaunchIsNoLossOfTheDevice) {
  Kernel& kernel = preparing();
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 100}});
  const auto prepared = must(kernel.prepare(problem.inputs()));
  const auto refused = kernel.run(problem.call(prepared.get()));
  ASSERT_FALSE(refused) << "400 KiB of shared memory";
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("launch 1, kernel 'scale_rows'"));
}

TEST_F(CudaKernelTest, AnotherThreadMayGoOn) {
  Kernel& norm = *must(house().resolve({"rmsnorm_h256"}));
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 1}});
  must(norm.run(problem.call()));
  std::thread([&] { must(norm.run(problem.call())); }).join();
  must(norm.run(problem.call()));
  EXPECT_THAT(card_.launches, testing::SizeIs(3));
}

TEST_F(CudaKernelTest, TheDeviceSaysWhatItHas) {
  EXPECT_EQ(device_->info().target, "cuda");
  EXPECT_EQ(device_->info().architecture, "sm_90a");
  EXPECT_TRUE(device_->can_capture());
  const auto too_much = device_->allocate(FakeCard::kMemoryBytes * 2);
  ASSERT_FALSE(too_much);
  EXPECT_EQ(too_much.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(too_much.error().message, HasSubstr("no 2.0 GiB of device memory, 1.0 of 1.0 GiB"));
  {
    const DeviceArray array = must(device_->allocate(1000));
    EXPECT_EQ(device_->free_bytes(), FakeCard::kMemoryBytes - 1000);
    const auto early = device_->fill_random(array.data(), 1000, 1.0f, 1);
    ASSERT_FALSE(early);
    EXPECT_THAT(early.error().to_string(), HasSubstr("open a dispatch on it first"));
  }
  EXPECT_EQ(device_->free_bytes(), FakeCard::kMemoryBytes);
}

TEST_F(CudaKernelTest, WhatARecordingFailsWithIsTheError) {
  const auto graph = device_->capture(
      [] { return Result<void>(fail(ErrorCode::kInvalidInput, "the recording's own trouble")); });
  ASSERT_FALSE(graph);
  EXPECT_EQ(graph.error().message, "the recording's own trouble");
  EXPECT_TRUE(device_->allocate(16)) << "no longer capturing";
}

}  // namespace
}  // namespace fib
