#include "runners/launch/launch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace fib {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// What an H100 says of itself.
constexpr FibPlanDevice kDevice = {.compute_major = 9,
                                   .compute_minor = 0,
                                   .multiprocessors = 132,
                                   .max_threads_per_multiprocessor = 2048,
                                   .max_shared_bytes_per_block = 227 << 10,
                                   .max_shared_bytes_per_multiprocessor = 228 << 10,
                                   .warp_size = 32,
                                   .l2_bytes = 50 << 20,
                                   .memory_bytes = int64_t{80} << 30};

// rmsnorm of 7 rows of 4096: inputs hidden_states, weight, eps (host scalar), ids (host-visible).
class ProblemFixture {
 public:
  ProblemFixture() {
    axes_ = {{"batch_size", 7}, {"hidden_size", 4096}};
    inputs_ = {{.name = "hidden_states", .dtype = "bfloat16", .ndim = 2, .shape = shape_},
               {.name = "weight", .dtype = "bfloat16", .ndim = 1, .shape = shape_ + 1},
               {.name = "eps", .dtype = "float32", .is_host_scalar = 1, .scalar = 0.5},
               {.name = "ids", .dtype = "int32", .ndim = 1, .shape = shape_, .host_data = ids_}};
    outputs_ = {{.name = "output", .dtype = "bfloat16", .ndim = 2, .shape = shape_}};
  }

  FibPlanProblem raw() const {
    return {.abi_version = FIB_PLAN_ABI_VERSION,
            .num_axes = static_cast<int32_t>(axes_.size()),
            .num_inputs = static_cast<int32_t>(inputs_.size()),
            .num_outputs = static_cast<int32_t>(outputs_.size()),
            .axes = axes_.data(),
            .inputs = inputs_.data(),
            .outputs = outputs_.data(),
            .device = kDevice};
  }

 private:
  int64_t shape_[2] = {7, 4096};
  int32_t ids_[7] = {0, 1, 2, 3, 4, 5, 6};
  std::vector<FibPlanAxis> axes_;
  std::vector<FibPlanTensor> inputs_, outputs_;
};

PlanLimits limits() {
  return {.input_bytes = {7 * 8192, 8192, 0, 28},
          .output_bytes = {7 * 8192},
          .kernels = {"rmsnorm<4096>", "finish"},
          .device = kDevice,
          .max_workspace_bytes = 1 << 20,
          .max_prepared_bytes = 1 << 20,
          .weights = {1}};
}

// Collects what `write` plans, as FIB_EXPORT_PLAN would.
template <auto write>
Result<LaunchPlan> collect() {
  const ProblemFixture problem;
  const FibPlanProblem given = problem.raw();
  return collect_plan(
      [](const FibPlanProblem* p, const FibPlanSink* sink) {
        Plan plan(sink);
        write(PlanProblem(p, &plan), plan);
        plan.finish();
      },
      given);
}

FibPlanTensorMap weight_map(const PlanProblem& problem) {
  return {.base = problem.input("hidden_states"),
          .dtype = 9,  // bfloat16
          .rank = 2,
          .size = {4096, 7},
          .stride_bytes = {8192},
          .box = {64, 7},
          .element_stride = {1, 1},
          .swizzle = 3};
}

void write_good_plan(const PlanProblem& problem, Plan& plan) {
  const PlanPointer partial = plan.workspace(1000);
  const PlanPointer sums = plan.workspace(64);
  const PlanPointer laid_out = plan.prepared(8192);
  plan.launch("finish").block(32).prepare().arg(problem.input("weight")).arg(laid_out);
  plan.memset(sums, 64, 0xff);
  plan.launch("rmsnorm<4096>")
      .grid(problem.axis("batch_size") + 1, 2)
      .block(256, 2)
      .cluster(2)
      .shared_bytes(100'000)
      .programmatic()
      .arg(problem.input("hidden_states") + 8192)
      .arg(weight_map(problem))
      .arg(partial)
      .arg(sums)
      .arg(problem.output("output"))
      .arg(static_cast<float>(problem.scalar("eps")))
      .arg(problem.host_int32("ids")[6]);
  plan.launch("finish").cooperative().block(1024).grid(264).arg(laid_out);
}

LaunchPlan good_plan() {
  auto plan = collect<write_good_plan>();
  EXPECT_TRUE(plan) << plan.error().to_string();
  return std::move(*plan);
}

PlannedLaunch& main_launch(LaunchPlan& plan) { return std::get<PlannedLaunch>(plan.steps[2]); }

TEST(CollectPlan, KeepsEverythingThatWasAskedFor) {
  LaunchPlan plan = good_plan();
  ASSERT_EQ(plan.steps.size(), 4u);
  EXPECT_EQ(plan.workspace_bytes, 1024u + 256u);
  EXPECT_EQ(plan.prepared_bytes, 8192u);
  EXPECT_TRUE(std::get<PlannedLaunch>(plan.steps[0]).is_prepare);

  const auto& memset = std::get<PlannedMemset>(plan.steps[1]);
  EXPECT_EQ(memset.target.byte_offset, 1024);
  EXPECT_EQ(memset.bytes, 64u);
  EXPECT_EQ(memset.value, 0xff);

  const PlannedLaunch& launch = main_launch(plan);
  EXPECT_EQ(launch.kernel, "rmsnorm<4096>");
  EXPECT_EQ(launch.grid, (std::array<uint32_t, 3>{8, 2, 1}));
  EXPECT_EQ(launch.cluster, (std::array<uint32_t, 3>{2, 1, 1}));
  EXPECT_TRUE(launch.is_programmatic);
  EXPECT_FALSE(launch.is_cooperative);
  ASSERT_EQ(launch.arguments.size(), 7u);
  EXPECT_EQ(std::get<FibPlanPointer>(launch.arguments[0].value).byte_offset, 8192);
  EXPECT_EQ(std::get<FibPlanTensorMap>(launch.arguments[1].value).size[1], 7u);
  EXPECT_EQ(std::get<std::vector<std::byte>>(launch.arguments[6].value),
            (std::vector<std::byte>{std::byte{6}, {}, {}, {}}));
  EXPECT_EQ(describe_step(plan, 1), "step 1, memset");
}

TEST(CollectPlan, PassesThePlansOwnReasonOn) {
  const auto plan = collect<[](const PlanProblem&, Plan& plan) {
    plan.fail("more than 65535 rows");
    plan.fail("a second reason");
  }>();
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(plan.error().to_string(), "plan.cpp: the plan fails: more than 65535 rows");
}

TEST(CollectPlan, AnUnknownNameIsTheReason) {
  const auto axis = collect<[](const PlanProblem& p, Plan&) { p.axis("rows"); }>();
  ASSERT_FALSE(axis);
  EXPECT_THAT(axis.error().message, HasSubstr("rows"));
  const auto hidden = collect<[](const PlanProblem& p, Plan&) { p.host_int32("weight"); }>();
  ASSERT_FALSE(hidden);
  EXPECT_THAT(hidden.error().message, HasSubstr("weight"));
}

TEST(CollectPlan, EndlessPlansAreCutOff) {
  const auto plan = collect<[](const PlanProblem&, Plan& plan) {
    for (int i = 0; i < 1'000'000; ++i) plan.launch("finish");
  }>();
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr("more than 4096 steps"));
}

TEST(CollectPlan, TooManyArgumentsAreRefused) {
  struct Large {
    char bytes[3000];
  };
  const auto large = collect<[](const PlanProblem&, Plan& plan) {
    plan.launch("finish").arg(Large{}).arg(Large{});
  }>();
  ASSERT_FALSE(large);
  EXPECT_THAT(large.error().message, HasSubstr("more kernel arguments than a launch can hold"));
}

// A plan may talk to the sink without the helpers of plan.h.
TEST(CollectPlan, SurvivesNonsenseFromTheRawInterface) {
  const ProblemFixture problem;
  const std::vector<FibPlanEntry> entries = {
      [](const FibPlanProblem*, const FibPlanSink* sink) { sink->launch(sink->context, nullptr); },
      [](const FibPlanProblem*, const FibPlanSink* sink) { sink->memset(sink->context, nullptr); },
      [](const FibPlanProblem*, const FibPlanSink* sink) { sink->fail(sink->context, nullptr); },
      [](const FibPlanProblem*, const FibPlanSink* sink) {
        const FibPlanLaunch launch{};
        sink->launch(sink->context, &launch);
      },
      [](const FibPlanProblem*, const FibPlanSink* sink) {
        const FibPlanLaunch launch{.kernel = "finish", .num_args = -1};
        sink->launch(sink->context, &launch);
      },
      [](const FibPlanProblem*, const FibPlanSink* sink) {
        const FibPlanLaunch launch{.kernel = "finish", .num_args = 1};
        sink->launch(sink->context, &launch);
      },
      [](const FibPlanProblem*, const FibPlanSink* sink) {
        const FibPlanArg argument{.kind = 17};
        const FibPlanLaunch launch{.kernel = "finish", .num_args = 1, .args = &argument};
        sink->launch(sink->context, &launch);
      },
      [](const FibPlanProblem*, const FibPlanSink* sink) {
        const FibPlanArg argument{.kind = FIB_ARG_BYTES, .size = 8};
        const FibPlanLaunch launch{.kernel = "finish", .num_args = 1, .args = &argument};
        sink->launch(sink->context, &launch);
      },
      [](const FibPlanProblem*, const FibPlanSink* sink) {
        const FibPlanArg argument{.kind = FIB_ARG_TENSOR_MAP};
        const FibPlanLaunch launch{.kernel = "finish", .num_args = 1, .args = &argument};
        sink->launch(sink->context, &launch);
      }};
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto plan = collect_plan(entries[i], problem.raw());
    ASSERT_FALSE(plan) << i;
    EXPECT_THAT(plan.error().to_string(), StartsWith("plan.cpp: the plan fails: ")) << i;
  }
}

TEST(CheckPlan, AGoodOnePasses) {
  const auto checked = check_plan(good_plan(), limits());
  EXPECT_TRUE(checked) << checked.error().to_string();
}

// Each change to a good plan, and what its error must say.
struct Fault {
  const char* message;
  std::function<void(LaunchPlan&)> inject;
};

PlannedArgument pointer(int32_t space, int32_t index, int64_t offset) {
  return {FibPlanPointer{space, index, offset}};
}
FibPlanTensorMap& tensor_map(LaunchPlan& plan) {
  return std::get<FibPlanTensorMap>(main_launch(plan).arguments[1].value);
}

const char* const kMain = "launch 2, kernel 'rmsnorm<4096>': ";

TEST(CheckPlan, FaultsAreNamed) {
  const std::vector<Fault> faults = {
      {"launch 2, kernel 'softmax': no such kernel among: rmsnorm<4096>, finish",
       [](auto& p) { main_launch(p).kernel = "softmax"; }},
      {"grid of 0x2x1: each dimension from 1 to 2147483647x65535x65535",
       [](auto& p) { main_launch(p).grid[0] = 0; }},
      {"grid of 2147483648x2x1", [](auto& p) { main_launch(p).grid[0] = 1u << 31; }},
      {"grid of 8x65536x1", [](auto& p) { main_launch(p).grid[1] = 65536; }},
      {"block of 256x2x0", [](auto& p) { main_launch(p).block[2] = 0; }},
      {"block of 256x2x65", [](auto& p) { main_launch(p).block[2] = 65; }},
      {"block of 2048 threads (256x8x1), at most 1024",
       [](auto& p) { main_launch(p).block[1] = 8; }},
      {"cluster of 16x1x1: at most 8 blocks",
       [](auto& p) { main_launch(p).grid[0] = main_launch(p).cluster[0] = 16; }},
      {"cluster of 3x1x1 doesn't divide the grid of 8x2x1",
       [](auto& p) { main_launch(p).cluster[0] = 3; }},
      {"cluster of 2x0x1 doesn't divide", [](auto& p) { main_launch(p).cluster[1] = 0; }},
      {"cluster of 4294967295x1x1 doesn't divide",
       [](auto& p) { main_launch(p).cluster[0] = ~0u; }},
      {"232449 bytes of dynamic shared memory, at most 232448",
       [](auto& p) { main_launch(p).shared_bytes = 232449; }},
      {"launch 3, kernel 'finish': cooperative grid of 265 blocks of 1024 threads, at most 264",
       [](auto& p) { std::get<PlannedLaunch>(p.steps[3]).grid[0] = 265; }},
      {"argument 0: input 4, there are 4",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_INPUT, 4, 0); }},
      {"argument 0: output -1, there are 1",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_OUTPUT, -1, 0); }},
      {"argument 0: workspace 1, there are 1",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_WORKSPACE, 1, 0); }},
      {"argument 0: unknown space 9",
       [](auto& p) { main_launch(p).arguments[0] = pointer(9, 0, 0); }},
      {"argument 0: 0 bytes at offset -8 of input 0, which has 57344",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_INPUT, 0, -8); }},
      {"argument 0: 0 bytes at offset 57344 of output 0, which has 57344",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_OUTPUT, 0, 57344); }},
      {"argument 0: 0 bytes at offset 1280 of workspace 0",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_WORKSPACE, 0, 1280); }},
      {"argument 0: 0 bytes at offset 4 of input 2, which has 0",
       [](auto& p) { main_launch(p).arguments[0] = pointer(FIB_SPACE_INPUT, 2, 4); }},
      {"argument 0: no bytes",
       [](auto& p) { main_launch(p).arguments[0] = {std::vector<std::byte>{}}; }},
      {"arguments of more than 4096 bytes",
       [](auto& p) { main_launch(p).arguments[0] = {std::vector<std::byte>(4000)}; }},
      {"argument 1: tensor map of unknown dtype 14", [](auto& p) { tensor_map(p).dtype = 14; }},
      {"argument 1: tensor map of rank 6, from 1 to 5", [](auto& p) { tensor_map(p).rank = 6; }},
      {"argument 1: tensor map at offset 8, not a multiple of 16",
       [](auto& p) { tensor_map(p).base.byte_offset = 8; }},
      {"argument 1: tensor map dimension 1: size 0", [](auto& p) { tensor_map(p).size[1] = 0; }},
      {"stride 8200 (a multiple of 16", [](auto& p) { tensor_map(p).stride_bytes[0] = 8200; }},
      {"box 257 (1 to 256)", [](auto& p) { tensor_map(p).box[0] = 257; }},
      {"element stride 0 (1 to 8)", [](auto& p) { tensor_map(p).element_stride[0] = 0; }},
      {"argument 1: 65536 bytes at offset 0 of input 0, which has 57344",
       [](auto& p) { tensor_map(p).size[1] = 8; }},
      {"argument 1: 18446744073709551615 bytes at offset 0",
       [](auto& p) {
         tensor_map(p).size[1] = 1ull << 32;
         tensor_map(p).stride_bytes[0] = (1ull << 40) - 16;
       }},
      {"step 1, memset: inputs can't be written",
       [](auto& p) {
         std::get<PlannedMemset>(p.steps[1]).target = {FIB_SPACE_INPUT, 0, 0};
       }},
      {"step 1, memset: target: 257 bytes at offset 1024 of workspace 0, which has 1280",
       [](auto& p) { std::get<PlannedMemset>(p.steps[1]).bytes = 257; }},
      {"step 1, memset: target: 18446744073709551615 bytes",
       [](auto& p) { std::get<PlannedMemset>(p.steps[1]).bytes = UINT64_MAX; }},
      {"launch 0, kernel 'finish': argument 0: a prepare step may use weights and prepared memory, "
       "not input 0",
       [](auto& p) {
         std::get<PlannedLaunch>(p.steps[0]).arguments[0] = pointer(FIB_SPACE_INPUT, 0, 0);
       }},
      {"a prepare step may use weights and prepared memory, not output 0",
       [](auto& p) {
         std::get<PlannedLaunch>(p.steps[0]).arguments[0] = pointer(FIB_SPACE_OUTPUT, 0, 0);
       }},
      {"workspace: 1048577 bytes, at most 1048576",
       [](auto& p) { p.workspace_bytes = (1 << 20) + 1; }},
      {"prepared memory: 18446744073709551615 bytes, at most 1048576",
       [](auto& p) { p.prepared_bytes = UINT64_MAX; }},
      {"4097 steps, at most 4096", [](auto& p) { p.steps.resize(4097, p.steps[1]); }},
  };
  for (const Fault& fault : faults) {
    LaunchPlan plan = good_plan();
    fault.inject(plan);
    const auto checked = check_plan(plan, limits());
    ASSERT_FALSE(checked) << fault.message;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(checked.error().to_string(), HasSubstr(fault.message));
  }
}

TEST(CheckPlan, TheStepIsNamed) {
  LaunchPlan plan = good_plan();
  main_launch(plan).block[0] = 0;
  EXPECT_THAT(check_plan(plan, limits()).error().to_string(), StartsWith(kMain));
}

TEST(CheckPlan, OlderDevicesHaveNoClustersOrTensorMaps) {
  PlanLimits old = limits();
  old.device.compute_major = 8;
  LaunchPlan plan = good_plan();
  EXPECT_THAT(check_plan(plan, old).error().message,
              HasSubstr("compute capability 8.0 has no clusters"));
  main_launch(plan).cluster = {0, 0, 0};
  EXPECT_THAT(check_plan(plan, old).error().message,
              HasSubstr("compute capability 8.0 has no tensor maps"));
}

TEST(CheckPlan, AnEmptyBufferMayBePassed) {
  LaunchPlan plan = good_plan();
  main_launch(plan).arguments[0] = pointer(FIB_SPACE_INPUT, 2, 0);
  EXPECT_TRUE(check_plan(plan, limits()));
}

TEST(PlanJson, RoundTripsEverything) {
  LaunchPlan plan = good_plan();
  plan.workspace_bytes = UINT64_MAX;
  const Json json = plan_to_json(plan);
  const auto text = parse_json(dump_json(json), "wire");
  ASSERT_TRUE(text) << text.error().to_string();
  const auto again = plan_from_json(*text);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(plan_to_json(*again), json);
  EXPECT_EQ(again->workspace_bytes, UINT64_MAX);
  LaunchPlan copy = *again;
  EXPECT_EQ(main_launch(copy).arguments.size(), 7u);
  EXPECT_EQ(tensor_map(copy).stride_bytes[0], 8192u);
  EXPECT_EQ(main_launch(copy).shared_bytes, 100'000u);
}

TEST(PlanJson, DamageIsLocated) {
  struct Damage {
    const char* where;
    std::function<void(Json&)> inject;
  };
  const std::vector<Damage> damages = {
      {"/workspace_bytes", [](Json& j) { j["workspace_bytes"] = -1; }},
      {"/steps", [](Json& j) { j["steps"] = "none"; }},
      {"/steps/1/value", [](Json& j) { j["steps"][1]["value"] = 256; }},
      {"/steps/1/memset", [](Json& j) { j["steps"][1]["memset"][0] = int64_t{1} << 33; }},
      {"/steps/2/grid",
       [](Json& j) {
         j["steps"][2]["grid"] = {1, 2};
       }},
      {"/steps/2/grid/0", [](Json& j) { j["steps"][2]["grid"][0] = 1.5; }},
      {"/steps/2/block/0", [](Json& j) { j["steps"][2]["block"][0] = int64_t{1} << 32; }},
      {"/steps/2", [](Json& j) { j["steps"][2]["blocks"] = 1; }},
      {"/steps/2/arguments/5/bytes",
       [](Json& j) { j["steps"][2]["arguments"][5]["bytes"] = "0g"; }},
      {"/steps/2/arguments/5/bytes",
       [](Json& j) { j["steps"][2]["arguments"][5]["bytes"] = "012"; }},
      {"/steps/2/arguments/1/tensor_map/size",
       [](Json& j) { j["steps"][2]["arguments"][1]["tensor_map"]["size"] = {1}; }},
      {"/steps/2/arguments/0", [](Json& j) { j["steps"][2]["arguments"][0] = Json::object(); }},
  };
  for (const Damage& damage : damages) {
    Json json = plan_to_json(good_plan());
    damage.inject(json);
    const auto plan = plan_from_json(json);
    ASSERT_FALSE(plan) << damage.where;
    EXPECT_THAT(plan.error().where, AllOf(StartsWith("launch plan"), HasSubstr(damage.where)));
  }
}

}  // namespace
}  // namespace fib
