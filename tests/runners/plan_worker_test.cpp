#include "runners/worker/plan_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "runners/worker/landlock.h"
#include "runners/worker/toolchain.h"
#include "tests/runners/temporary_folder.h"

namespace fib {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class PlanWorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto toolchain = find_host_compiler();
    if (!toolchain) GTEST_SKIP() << toolchain.error().to_string();
    toolchain_ = *toolchain;
    toolchain_.include_folder = std::filesystem::path(FIB_SOURCE_DIR) / "harness/abi";
  }

  PlanProcess start(const std::string& source) {
    sources_.write("plan.cpp", source);
    const auto compiled = compile_shared_object({.toolchain = toolchain_,
                                                 .source_folder = sources_.path(),
                                                 .sources = {"plan.cpp"},
                                                 .output = objects_.path() / "plan.so"});
    EXPECT_TRUE(compiled && compiled->ok) << (compiled ? compiled->log : "");
    auto process = PlanProcess::start(
        {.worker_executable = FIB_TEST_WORKER, .object = objects_.path() / "plan.so"});
    EXPECT_TRUE(process) << process.error().to_string();
    return std::move(*process);
  }

  // A plan.cpp whose function has this body.
  PlanProcess start_body(const std::string& body, const std::string& before = "") {
    return start("#include <fib/plan.h>\n" + before +
                 "\nvoid f(const fib::PlanProblem& problem, fib::Plan& plan) {" + body +
                 "}\nFIB_EXPORT_PLAN(f)\n");
  }

  std::string failure(PlanProcess process, double seconds = 20.0) {
    const auto plan = process.plan(problem(), deadline_in(seconds));
    EXPECT_FALSE(plan);
    return plan ? "" : plan.error().to_string();
  }

  static InputBytes ids(const std::vector<int32_t>& values) {
    std::vector<std::byte> bytes(4 * values.size());
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  }

  static PlanProblemValue problem() {
    return {
        .axes = {{"rows", 7}, {"columns", 4096}},
        .inputs =
            {{.name = "x", .dtype = DType::kBFloat16, .shape = {7, 4096}},
             {.name = "first", .dtype = DType::kInt32, .shape = {3}, .host_data = ids({1, 2, 3})},
             {.name = "scale", .is_host_scalar = true, .scalar = 0.1},
             {.name = "second", .dtype = DType::kInt32, .shape = {2}, .host_data = ids({40, 50})}},
        .outputs = {{.name = "y", .dtype = DType::kBFloat16, .shape = {7, 4096}}},
        .device = {.compute_major = 9, .multiprocessors = 132, .memory_bytes = 80LL << 30}};
  }

  Toolchain toolchain_;
  TemporaryFolder sources_, objects_;
};

TEST_F(PlanWorkerTest, PlansFromEverythingTheProblemSays) {
  PlanProcess process = start_body(R"(
    plan.launch("k").grid(problem.axis("rows"), problem.device().multiprocessors)
        .block(problem.host_int32("first")[2] + problem.host_int32("second")[1])
        .arg(problem.input("second")).arg(problem.output("y")).arg(problem.scalar("scale"))
        .arg(problem.raw().inputs[0].shape[1]).arg(problem.device().memory_bytes);
    plan.memset(plan.workspace(100), 100);)");
  for (int i = 0; i < 2; ++i) {  // the process serves many
    const auto plan = process.plan(problem(), deadline_in(20.0));
    ASSERT_TRUE(plan) << plan.error().to_string();
    ASSERT_EQ(plan->steps.size(), 2u);
    const auto& launch = std::get<PlannedLaunch>(plan->steps[0]);
    EXPECT_EQ(launch.grid, (std::array<uint32_t, 3>{7, 132, 1}));
    EXPECT_EQ(launch.block[0], 53u);
    EXPECT_EQ(std::get<FibPlanPointer>(launch.arguments[0].value).index, 3);
    double scale = 0.0;
    std::memcpy(&scale, std::get<std::vector<std::byte>>(launch.arguments[2].value).data(), 8);
    EXPECT_EQ(scale, 0.1);
    EXPECT_EQ(plan->workspace_bytes, 256u);
  }
}

TEST_F(PlanWorkerTest, APlanMayAskWhatTheHostKnows) {
  PlanProcess process = start_body(R"(
    plan.launch("k").grid(problem.has_host("first") ? problem.host_int32("first")[0] : 9);)");
  PlanProblemValue unknown = problem();
  unknown.inputs[1].host_data = nullptr;
  for (const auto& [value, grid] : {std::pair(problem(), 1u), std::pair(unknown, 9u)}) {
    const auto plan = process.plan(value, deadline_in(20.0));
    ASSERT_TRUE(plan) << plan.error().to_string();
    EXPECT_EQ(std::get<PlannedLaunch>(plan->steps[0]).grid[0], grid);
  }
  EXPECT_THAT(failure(start_body("problem.has_host(\"third\"); plan.launch(\"k\");")),
              HasSubstr("third"));
}

TEST_F(PlanWorkerTest, ItsOwnRefusalIsPassedOn) {
  PlanProcess process = start_body(
      "if (problem.axis(\"rows\") > 6) plan.fail(\"more than 6 rows\"); plan.launch(\"k\");");
  const auto refused = process.plan(problem(), deadline_in(20.0));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().to_string(), "plan.cpp: the plan fails: more than 6 rows");
  PlanProblemValue small = problem();
  small.axes["rows"] = 6;
  EXPECT_TRUE(process.plan(small, deadline_in(20.0)));
}

TEST_F(PlanWorkerTest, ACrashIsNamedAndTheNextProblemIsServed) {
  PlanProcess process =
      start_body("if (problem.axis(\"rows\") == 7) *(volatile int*)0 = 1; plan.launch(\"k\");");
  const auto crashed = process.plan(problem(), deadline_in(20.0));
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().code, ErrorCode::kWorkerLost);
  EXPECT_THAT(crashed.error().to_string(), StartsWith("plan.cpp: crashed: killed by signal 11"));
  PlanProblemValue other = problem();
  other.axes["rows"] = 8;
  const auto plan = process.plan(other, deadline_in(20.0));
  EXPECT_TRUE(plan) << plan.error().to_string();
}

TEST_F(PlanWorkerTest, AHangMissesItsDeadline) {
  const std::string message =
      failure(start_body("while (problem.axis(\"rows\") == 7) asm volatile(\"\");"), 0.5);
  EXPECT_EQ(message, "plan.cpp: gave no plan before the deadline");
}

TEST_F(PlanWorkerTest, ImpurePlansAreRefused) {
  EXPECT_THAT(failure(start_body("static int calls = 0; plan.launch(\"k\").grid(++calls);")),
              StartsWith("plan.cpp: gave two different plans for one problem"));
  EXPECT_THAT(failure(start_body("static int calls = 0; if (++calls == 2) plan.fail(\"tired\");")),
              HasSubstr("two different plans"));
  // Notes left in its inputs.
  PlanProcess scribbler = start_body(R"(
    int* ids = const_cast<int*>(problem.host_int32("first"));
    plan.launch("k").grid(ids[0]++);)");
  const auto plan = scribbler.plan(problem(), deadline_in(20.0));
  EXPECT_TRUE(plan) << plan.error().to_string();
}

TEST_F(PlanWorkerTest, EndlessPlansAndOutputAreCutOff) {
  EXPECT_THAT(failure(start_body("for (int i = 0; i < 100000; ++i) plan.launch(\"k\");")),
              HasSubstr("plan.cpp: the plan fails: more than 4096 steps"));
  const std::string message = failure(
      start_body("for (int i = 0; i < 100000; ++i) puts(\"the same line over and over again\");"
                 "fflush(stdout); __builtin_trap();",
                 "#include <stdio.h>"));
  EXPECT_THAT(message, AllOf(StartsWith("plan.cpp: crashed"), HasSubstr("bytes left out")));
  EXPECT_LT(message.size(), 80'000u);
}

TEST_F(PlanWorkerTest, TheLargestPlanFitsAMessage) {
  PlanProcess process = start_body(R"(
    struct Large { char bytes[3900]; } large;
    memset(&large, 0xff, sizeof large);
    for (int i = 0; i < 4096; ++i) plan.launch("k").arg(large);)");
  const auto plan = process.plan(problem(), deadline_in(100.0));
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->steps.size(), 4096u);
}

TEST_F(PlanWorkerTest, ItHasNoFilesNoNetworkNoProcesses) {
  const std::string before =
      "#include <fcntl.h>\n#include <unistd.h>\n#include <sys/socket.h>\n#include <sys/ioctl.h>";
  EXPECT_THAT(failure(start_body("socket(AF_INET, SOCK_STREAM, 0);", before)),
              AllOf(HasSubstr("killed by signal 31"), HasSubstr("refused system call 'socket'")));
  EXPECT_THAT(failure(start_body("fork();", before)), HasSubstr("refused system call 'clone'"));
  // Before the entry is ever called.
  EXPECT_THAT(failure(start_body(
                  "", before + "\n__attribute__((constructor)) void c() { socket(1, 1, 0); }")),
              HasSubstr("refused system call 'socket'"));
  EXPECT_THAT(failure(start_body("if (ioctl(0, 0) < 0) plan.fail(\"no ioctl\");", before)),
              HasSubstr("no ioctl"));
  if (landlock_abi() == 0) GTEST_SKIP() << "the kernel has no Landlock: files can be read";
  EXPECT_THAT(failure(start_body("if (open(\"/etc/passwd\", O_RDONLY) < 0) plan.fail(\"no file\");",
                                 before)),
              HasSubstr("no file"));
}

TEST_F(PlanWorkerTest, AnObjectWithoutAPlanIsNamed) {
  EXPECT_THAT(
      failure(start("int unrelated;")),
      AllOf(StartsWith("plan.cpp: exports no fib_plan_entry"), HasSubstr("FIB_EXPORT_PLAN")));
  EXPECT_THAT(failure(start("extern int nowhere; int* p = &nowhere;")),
              AllOf(StartsWith("plan.cpp: can't be loaded"), HasSubstr("nowhere")));
}

TEST_F(PlanWorkerTest, KeysTellProblemsApart) {
  const std::string key = problem().key();
  EXPECT_EQ(problem().key(), key);
  PlanProblemValue other = problem();
  other.inputs[1].host_data = ids({1, 2, 4});
  EXPECT_NE(other.key(), key);
  other = problem();
  other.inputs[2].scalar = 0.2;
  EXPECT_NE(other.key(), key);
  other = problem();
  other.device.multiprocessors = 114;
  EXPECT_NE(other.key(), key);
}

TEST(PlanProblem, TakesScalarsAndHostVisibleValues) {
  Problem problem{.axes = {{"rows", 2}},
                  .outputs = {{.name = "y", .dtype = DType::kFloat32, .shape = {2}}}};
  problem.signature = std::make_shared<Signature>();
  const auto bytes = std::make_shared<const std::vector<std::byte>>(8);
  InputSet inputs;
  inputs.values = {
      {.desc = {.name = "x", .shape = {2}}, .source = bytes},
      {.desc = {.name = "ids", .dtype = DType::kInt32, .shape = {2}, .is_host_visible = true},
       .source = bytes},
      {.desc = {.name = "eps", .is_host_scalar = true}, .source = 0.5}};
  const auto value = plan_problem(problem, inputs, {});
  ASSERT_TRUE(value) << value.error().to_string();
  EXPECT_EQ(value->inputs[0].host_data, nullptr);
  EXPECT_EQ(value->inputs[1].host_data, bytes);
  EXPECT_EQ(value->inputs[2].scalar, 0.5);
  EXPECT_EQ(value->outputs[0].name, "y");

  inputs.values[1].source = Generated{};
  const auto missing = plan_problem(problem, inputs, {});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().to_string(), HasSubstr("ids: a host-visible input whose values"));
}

}  // namespace
}  // namespace fib
