// House kernels on the cpu target through the dispatch: right results, and trouble in words.

#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CpuDispatchTest : public testing::Test {
 protected:
  CpuDispatchTest() : device_(must(open_cpu_device(2))) {}

  Dispatch& house() {
    if (!house_) house_ = must(open_house_dispatch(*device_, house_options()));
    return *house_;
  }
  // A dispatch over solutions that the test writes.
  std::unique_ptr<Dispatch> dispatch_of(const std::filesystem::path& solutions) {
    HouseDispatchOptions options = house_options();
    options.solutions = solutions;
    return must(open_house_dispatch(*device_, options));
  }
  Kernel& kernel(const std::string& name) { return *must(house().resolve({name})); }

  Error refusal(const KernelCall& call, const std::string& name = "rmsnorm_h256") {
    const auto result = kernel(name).run(call);
    EXPECT_FALSE(result);
    return result ? Error{} : result.error();
  }

  ScratchFolder scratch_;
  std::unique_ptr<ServingDevice> device_;

 private:
  std::unique_ptr<Dispatch> house_;
};

struct Case {
  std::string signature;
  DeviceProblem::Axes axes;
};

class CpuHouseKernelTest : public CpuDispatchTest, public testing::WithParamInterface<Case> {};

TEST_P(CpuHouseKernelTest, AgreesWithTheReference) {
  DeviceProblem problem(*device_, GetParam().signature, GetParam().axes);
  Kernel& kernel = *must(house().resolve({GetParam().signature}));
  problem.clear_outputs();
  const auto ran = kernel.run(problem.call());
  ASSERT_TRUE(ran) << ran.error().to_string();
  problem.expect_right();
}

INSTANTIATE_TEST_SUITE_P(
    All, CpuHouseKernelTest,
    testing::Values(Case{"rmsnorm_h256", {{"batch_size", 7}}},
                    Case{"fused_add_rmsnorm_h256", {{"batch_size", 3}}},
                    Case{"gemm_n256_k256", {{"M", 5}}},
                    Case{"gqa_paged_decode_h4_kv2_d64_ps1",
                         {{"batch_size", 3}, {"num_pages", 64}, {"num_kv_indices", 50}}},
                    Case{"gqa_paged_decode_h4_kv2_d64_ps16",
                         {{"batch_size", 3}, {"num_pages", 32}, {"num_kv_indices", 20}}},
                    Case{"moe_int4_g32_topk4_e32_h256_i128", {{"num_tokens", 6}}}),
    [](const auto& info) { return info.param.signature; });

TEST_F(CpuDispatchTest, OneKernelServesShapesInAnyOrder) {
  Kernel& norm = kernel("rmsnorm_h256");
  for (const int64_t rows : {1, 33, 2, 33, 0}) {
    DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", rows}});
    problem.clear_outputs();
    must(norm.run(problem.call()));
    if (rows > 0) problem.expect_right();
  }
}

TEST_F(CpuDispatchTest, TheSameRequestGivesTheSameKernel) {
  Kernel& norm = kernel("rmsnorm_h256");
  EXPECT_EQ(&norm, &kernel("rmsnorm_h256"));
  EXPECT_NE(&norm, &kernel("rmsnorm_h64"));
  EXPECT_EQ(norm.solution(), "rmsnorm-rows");
  EXPECT_THAT(house().kernels(), ElementsAre(&norm, &kernel("rmsnorm_h64")));
}

TEST_F(CpuDispatchTest, PrefetchBuildsWhatIsMissingAndReportsIt) {
  std::vector<std::string> names;
  const Dispatch::Progress progress = [&](size_t done, size_t total, std::string_view name) {
    names.emplace_back(name);
    EXPECT_EQ(done, names.size());
    EXPECT_EQ(total, 2u);
  };
  must(house().prefetch({{"rmsnorm_h256"}, {"rmsnorm_h64"}, {"rmsnorm_h256"}}, progress));
  EXPECT_THAT(names, testing::UnorderedElementsAre("rmsnorm_h256", "rmsnorm_h64"));
  EXPECT_EQ(house().kernels().size(), 2u);
  must(house().prefetch({{"rmsnorm_h256"}}, progress));
  EXPECT_EQ(names.size(), 2u);

  const auto failed = house().prefetch({{"rmsnorm_h128"}, {"no_such_h5"}}, nullptr);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().to_string(), HasSubstr("no_such_h5"));
  EXPECT_EQ(house().kernels().size(), 3u) << "what does build is there";
}

TEST_F(CpuDispatchTest, AParameterChangesTheArithmetic) {
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 1}});
  const auto first_output = [&](const SignatureRequest& request) {
    Kernel* kernel = must(house().resolve(request));
    must(kernel->run(problem.call()));
    return load_element(DType::kBFloat16, problem.output(0).data(), 0);
  };
  const double plain = first_output({"rmsnorm_h256"});
  // x / sqrt(mean square + eps), of values with a mean square of 1 within chance.
  const double damped = first_output({"rmsnorm_h256", {{"eps", 99.0}}});
  EXPECT_NEAR(damped / plain, 0.1, 0.01);
  EXPECT_EQ(
      must(house().resolve({"rmsnorm_h256", {{"eps", 99.0}}}))->signature().parameter("eps", 0),
      99.0);
  EXPECT_EQ(kernel("rmsnorm_h256").signature().parameter("eps", 0), 1e-6);

  const auto unknown = house().resolve({"rmsnorm_h256", {{"epsilon", 1.0}}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().to_string(),
            "rmsnorm_h256: there is no parameter 'epsilon' (it has: 'eps')");
}

TEST_F(CpuDispatchTest, UnknownSignatureNamesTheNearest) {
  const auto unknown = house().resolve({"rmsnrom_h256"});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(unknown.error().to_string(), HasSubstr("rmsnorm_h256"));
}

TEST_F(CpuDispatchTest, WrongCallsAreErrorsThatNameSignatureAndOperand) {
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 2}});
  std::vector<Operand> inputs = problem.inputs();
  inputs[1] = Operand::tensor(inputs[1].data, {128});
  EXPECT_EQ(refusal({inputs, problem.outputs()}).to_string(),
            "rmsnorm_h256: input 'weight' has 'hidden_size' = 128, it is 256");
  inputs[1].data = nullptr;
  inputs[1].shape[0] = 256;
  EXPECT_EQ(refusal({inputs, problem.outputs()}).to_string(),
            "rmsnorm_h256: input 'weight' has no data");
  EXPECT_EQ(refusal({std::span(inputs).first(1), problem.outputs()}).to_string(),
            "rmsnorm_h256: 1 inputs given, it has 2");
  must(kernel("rmsnorm_h256").run(problem.call()));  // a refused call leaves no trace
  problem.expect_right();
}

TEST_F(CpuDispatchTest, TapsSeeCalls) {
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 4}});
  Kernel& norm = kernel("rmsnorm_h256");
  NotingTap first, second;
  house().add_tap(first);
  must(norm.run(problem.call()));
  house().add_tap(second);
  must(norm.run(problem.call()));
  EXPECT_FALSE(norm.run({problem.inputs(), {}, nullptr})) << "not a call, so not seen";
  house().remove_tap(first);
  must(norm.run(problem.call()));
  EXPECT_THAT(first.signatures, ElementsAre("rmsnorm_h256", "rmsnorm_h256"));
  EXPECT_THAT(second.first_sizes, ElementsAre(4, 4));
}

TEST_F(CpuDispatchTest, GraphsAreRefused) {
  EXPECT_FALSE(device_->can_capture());
  const auto graph = house().capture([] { return Result<void>(); });
  ASSERT_FALSE(graph);
  EXPECT_EQ(graph.error().code, ErrorCode::kUnsupported);
}

TEST_F(CpuDispatchTest, ASolutionThatDoesNotBuildSaysWhere) {
  write_cpu_solution(scratch_.path(), "rmsnorm", "broken", "#include <fib/cpu.h>\nint x = oops;\n");
  const auto failed = dispatch_of(scratch_.path())->resolve({"rmsnorm_h256"});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(failed.error().to_string(), HasSubstr("'broken' doesn't build"));
  EXPECT_THAT(failed.error().to_string(), HasSubstr("solution.cpp:2"));
}

TEST_F(CpuDispatchTest, ASolutionWithoutItsEntryPointIsNamed) {
  write_cpu_solution(scratch_.path(), "rmsnorm", "empty", "int nothing = 0;\n");
  const auto failed = dispatch_of(scratch_.path())->resolve({"rmsnorm_h256"});
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().to_string(), HasSubstr("'empty' does not export fib_run"));
}

TEST_F(CpuDispatchTest, NoSolutionForASignature) {
  write_cpu_solution(scratch_.path(), "rmsnorm", "only", "int nothing = 0;\n");
  const auto failed = dispatch_of(scratch_.path())->resolve({"gemm_n256_k256"});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().to_string(),
            "gemm_n256_k256: the house has no solution for the target 'cpu'");
}

TEST_F(CpuDispatchTest, AFolderWithoutSolutionsIsAnError) {
  HouseDispatchOptions options = house_options();
  options.solutions = scratch_ / "nowhere";
  const auto failed = open_house_dispatch(*device_, options);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kNotFound);
}

// The output is the weight, doubled by prepare; the workspace must be there; 13 rows are refused.
constexpr const char* kPreparing = R"(
#include <fib/cpu.h>
#include <string.h>
extern "C" size_t fib_prepared_bytes(const FibCall* call) {
  return call->inputs[1].shape[0] * sizeof(uint16_t);
}
extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return call->inputs[0].data ? 0 : call->inputs[0].shape[0] * 4096;
}
extern "C" int fib_prepare(const FibCall* call) {
  const uint16_t* weight = (const uint16_t*)call->inputs[1].data;
  for (int64_t i = 0; i < call->inputs[1].shape[0]; ++i) {
    ((uint16_t*)call->prepared)[i] = weight[i] + 0x80;
  }
  return 0;
}
extern "C" int fib_run(const FibCall* call) {
  const int64_t rows = call->inputs[0].shape[0];
  if (rows == 13) return 7;
  memset(call->workspace, 1, rows * 4096);
  if (call->workspace_bytes != (size_t)rows * 4096) return 1;
  for (int64_t r = 0; r < rows; ++r) {
    memcpy((char*)call->outputs[0].data + r * call->prepared_bytes, call->prepared,
           call->prepared_bytes);
  }
  return 0;
}
)";

TEST_F(CpuDispatchTest, PreparedWeightsAreMadeOnceAndUsed) {
  write_cpu_solution(scratch_.path(), "rmsnorm", "preparing", kPreparing);
  const auto dispatch = dispatch_of(scratch_.path());
  Kernel& preparing = *must(dispatch->resolve({"rmsnorm_h256"}));
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 3}});
  const std::vector<Operand> weights = {Operand{}, problem.input("weight")};
  const auto prepared = must(preparing.prepare(weights));
  ASSERT_NE(prepared, nullptr);
  EXPECT_EQ(prepared->bytes(), 512u);
  EXPECT_FALSE(prepared->replaces_originals());

  must(preparing.run(problem.call(prepared.get())));
  std::vector<std::byte> weight(512);
  must(device_->download(weight.data(), problem.input("weight").data, weight.size()));
  const std::vector<std::byte> output = problem.output(0);
  EXPECT_EQ(load_element(DType::kBFloat16, output.data(), 2 * 256 + 5),
            2.0 * load_element(DType::kBFloat16, weight.data(), 5));

  const auto lacking = preparing.run(problem.call());
  ASSERT_FALSE(lacking);
  EXPECT_THAT(lacking.error().to_string(), HasSubstr("the call lacks prepared weights"));
  const auto foreign = must(dispatch->resolve({"rmsnorm_h64"}))
                           ->prepare(std::vector<Operand>{
                               Operand{}, Operand::tensor(problem.input("weight").data, {64})});
  const auto mixed_up = preparing.run(problem.call(foreign->get()));
  ASSERT_FALSE(mixed_up);
  EXPECT_THAT(mixed_up.error().to_string(), HasSubstr("another kernel's"));
  const auto without = preparing.prepare(std::vector<Operand>(2));
  ASSERT_FALSE(without);
  EXPECT_THAT(without.error().to_string(), HasSubstr("weight 'weight' has 0 dimensions"));
}

TEST_F(CpuDispatchTest, AKernelWithoutThePrepareStepSaysSo) {
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 1}});
  EXPECT_EQ(must(kernel("rmsnorm_h256").prepare(problem.inputs())), nullptr);
}

TEST_F(CpuDispatchTest, ASolutionsRefusalIsAnError) {
  write_cpu_solution(scratch_.path(), "rmsnorm", "preparing", kPreparing);
  const auto dispatch = dispatch_of(scratch_.path());
  Kernel& refusing = *must(dispatch->resolve({"rmsnorm_h256"}));
  DeviceProblem problem(*device_, "rmsnorm_h256", {{"batch_size", 13}});
  const auto prepared = must(refusing.prepare(problem.inputs()));
  const auto refused = refusing.run(problem.call(prepared.get()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("'preparing' refuses the call with code 7"));
}

}  // namespace
}  // namespace fib
