// Each way in which a cpu candidate can fail gives its own fault, quickly, and leaves the session
// usable.

#include <gmock/gmock.h>

#include <chrono>

#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

using testing::HasSubstr;

// An honest rmsnorm; `before` and `after` are spliced into fib_run around the honest work.
std::string rmsnorm_code(const std::string& before, const std::string& after = "",
                         const std::string& globals = "") {
  return R"(
#include <fib/cpu.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
)" + globals + R"(
static float widen(uint16_t bits) {
  uint32_t word = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}
static uint16_t narrow(float value) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  return uint16_t((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}
extern "C" int fib_run(const FibCall* call) {
  const int64_t rows = call->inputs[0].shape[0], width = call->inputs[0].shape[1];
  auto* x = static_cast<uint16_t*>(call->inputs[0].data);
  auto* weight = static_cast<uint16_t*>(call->inputs[1].data);
  auto* output = static_cast<uint16_t*>(call->outputs[0].data);
  (void)x; (void)weight; (void)output;
)" + before + R"(
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += widen(x[r * width + i]) * widen(x[r * width + i]);
    const float scale = 1.0f / std::sqrt(sum / width + float(FIB_PARAM_eps));
    for (int64_t i = 0; i < width; ++i)
      output[r * width + i] = narrow(widen(x[r * width + i]) * scale * widen(weight[i]));
  }
)" + after + R"(
  return 0;
}
)";
}

class CpuFaultTest : public CpuTest {
 protected:
  // The fault of this candidate; then an honest one must pass in the same session.
  Fault fault_of(const std::string& code, double timeout_s = 2.0) {
    config_.call_timeout_s = timeout_s;
    const auto begin = std::chrono::steady_clock::now();
    const ContenderOutcome outcome = measure_one(problem_, solution_of("rmsnorm", code));
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(taken.count(), 60.0);
    config_.call_timeout_s = 10.0;
    expect_right(measure_one(problem_, solution_of("rmsnorm", rmsnorm_code(""))), problem_);
    return outcome.fault.value_or(Fault{});
  }
  Problem problem_ = problem_of(signature_of("rmsnorm/rmsnorm", "rmsnorm_h64"), {{"batch_size", 5}});
};

TEST_F(CpuFaultTest, WrongNumbersAreReportedAndNotTimed) {
  const ContenderOutcome outcome =
      measure_one(problem_, solution_of("rmsnorm", rmsnorm_code("", "output[70] = 0x4700;")));
  EXPECT_FALSE(outcome.fault.has_value());
  ASSERT_EQ(outcome.checks.size(), 1u);
  EXPECT_GE(outcome.checks[0].elements_over_bound, 3);  // once a value set
  EXPECT_EQ(outcome.checks[0].first_bad_index, 70);
  EXPECT_TRUE(outcome.timings.empty() || outcome.timings[0].samples.empty());
}

TEST_F(CpuFaultTest, AnOutputLeftUnwrittenIsWrong) {
  const ContenderOutcome outcome =
      measure_one(problem_, solution_of("rmsnorm", rmsnorm_code("if (rows) return 0;")));
  EXPECT_GT(outcome.checks.at(0).elements_over_bound, 0);
}

TEST_F(CpuFaultTest, WritesPastTheEnd) {
  const Fault fault = fault_of(rmsnorm_code("", "output[rows * width + 3] = 1;"));
  EXPECT_EQ(fault.kind, FaultKind::kOutOfBounds);
  EXPECT_THAT(fault.message, HasSubstr("past the end of output 'output'"));
}

TEST_F(CpuFaultTest, WritesBeforeTheStart) {
  const Fault fault = fault_of(rmsnorm_code("", "output[-1] = 1;"));
  EXPECT_EQ(fault.kind, FaultKind::kOutOfBounds);
  EXPECT_THAT(fault.message, HasSubstr("before the start of output 'output'"));
}

TEST_F(CpuFaultTest, ChangesAnInput) {
  const Fault fault = fault_of(rmsnorm_code("", "weight[1] ^= 1;"));
  EXPECT_EQ(fault.kind, FaultKind::kInputModified);
  EXPECT_THAT(fault.message, HasSubstr("input 'weight' was changed"));
}

TEST_F(CpuFaultTest, Crashes) {
  const Fault fault = fault_of(
      rmsnorm_code("std::fprintf(stderr, \"about to fall\\n\"); *(volatile int*)8 = 1;"));
  EXPECT_EQ(fault.kind, FaultKind::kCrash);
  EXPECT_THAT(fault.message, HasSubstr("signal 11"));
  EXPECT_THAT(fault.message, HasSubstr("about to fall"));
}

TEST_F(CpuFaultTest, CrashesInAPoolThread) {
  const Fault fault = fault_of(rmsnorm_code(
      "call->parallel_for(call, 1000, 1, [](int64_t b, int64_t, void*) {"
      " if (b > 0) std::abort(); usleep(1000); }, nullptr); std::abort();"));
  EXPECT_EQ(fault.kind, FaultKind::kCrash);
  EXPECT_THAT(fault.message, HasSubstr("signal 6"));
}

TEST_F(CpuFaultTest, CrashesWhileItIsLoaded) {
  const Fault fault = fault_of(
      rmsnorm_code("", "", "struct Bomb { Bomb() { std::abort(); } } bomb;"));
  EXPECT_EQ(fault.kind, FaultKind::kCrash);
  EXPECT_THAT(fault.message, HasSubstr("being loaded"));
}

TEST_F(CpuFaultTest, Hangs) {
  const Fault fault = fault_of(rmsnorm_code("for (volatile int i = 0;; ) i = i + 1;"), 1.0);
  EXPECT_EQ(fault.kind, FaultKind::kTimeout);
  EXPECT_THAT(fault.message, HasSubstr("fib_run did not return within 1 s"));
}

TEST_F(CpuFaultTest, HangsWhenItIsAskedForItsWorkspace) {
  const Fault fault = fault_of(
      rmsnorm_code("", "", "extern \"C\" size_t fib_workspace_bytes(const FibCall*) {"
                           " for (volatile int i = 0;; ) i = i + 1; }"), 1.0);
  EXPECT_EQ(fault.kind, FaultKind::kTimeout);
  EXPECT_THAT(fault.message, HasSubstr("fib_workspace_bytes"));
}

TEST_F(CpuFaultTest, ReturnsAnError) {
  const Fault fault = fault_of(rmsnorm_code("return 42;"));
  EXPECT_EQ(fault.kind, FaultKind::kReturnedError);
  EXPECT_EQ(fault.message, "fib_run returned 42");
}

TEST_F(CpuFaultTest, AsksForTooMuchWorkspace) {
  const Fault fault = fault_of(rmsnorm_code(
      "", "", "extern \"C\" size_t fib_workspace_bytes(const FibCall*) { return 1ull << 50; }"));
  EXPECT_EQ(fault.kind, FaultKind::kPlanTooMuch);
  EXPECT_THAT(fault.message, HasSubstr("asks for 1125899906842624 bytes of workspace"));
}

TEST_F(CpuFaultTest, AllocatesForEver) {
  const Fault fault = fault_of(rmsnorm_code("for (;;) *static_cast<volatile char*>(new char[64 << 20]) = 1;"), 10.0);
  EXPECT_EQ(fault.kind, FaultKind::kOutOfMemory);
  EXPECT_THAT(fault.message, HasSubstr("bad_alloc"));
}

TEST_F(CpuFaultTest, Exits) {
  const Fault fault = fault_of(rmsnorm_code("std::_Exit(0);"));
  EXPECT_EQ(fault.kind, FaultKind::kCrash);
  EXPECT_THAT(fault.message, HasSubstr("fib_run"));
}

TEST_F(CpuFaultTest, Forks) {
  const Fault fault = fault_of(rmsnorm_code("for (;;) fork();"));
  EXPECT_EQ(fault.kind, FaultKind::kCrash);
  EXPECT_THAT(fault.message, HasSubstr("refused system call"));
}

TEST_F(CpuFaultTest, PrintsAGigabyte) {
  config_.call_timeout_s = 2.0;
  const ContenderOutcome outcome = measure_one(
      problem_, solution_of("rmsnorm", rmsnorm_code("char line[1024]; std::memset(line, 'x', 1024);"
                                                    " for (int i = 0; i < 1 << 20; ++i)"
                                                    " (void)!write(2, line, 1024);")));
  // Whether a gigabyte fits into two seconds is the machine's affair; what is kept of it is not.
  EXPECT_EQ(outcome.fault.value_or(Fault{FaultKind::kTimeout, ""}).kind, FaultKind::kTimeout);
  EXPECT_LT(outcome.fault.value_or(Fault{}).message.size() + outcome.log.size(), 256u << 10);
}

TEST_F(CpuFaultTest, LacksFibRun) {
  const Fault fault = fault_of("#include <fib/cpu.h>\nint fib_run(const FibCall*) { return 0; }\n");
  EXPECT_EQ(fault.kind, FaultKind::kKernelNotFound);
  EXPECT_THAT(fault.message, HasSubstr("does not export fib_run"));
  EXPECT_THAT(fault.message, HasSubstr("extern \"C\""));
}

TEST_F(CpuFaultTest, ThrowsAnException) {
  const Fault fault = fault_of(rmsnorm_code("throw std::runtime_error(\"no luck\");", "",
                                            "#include <stdexcept>\n"));
  EXPECT_EQ(fault.kind, FaultKind::kCrash);
  EXPECT_THAT(fault.message, HasSubstr("threw an exception: no luck"));
}

// One contender's end is not the other's.
TEST_F(CpuFaultTest, ACrashLeavesTheOtherContenderAlone) {
  const auto outcomes = measure(
      problem_,
      {artifact_of(solution_of("rmsnorm", rmsnorm_code("std::abort();")), *problem_.signature),
       artifact_of(solution_of("rmsnorm", rmsnorm_code("")), *problem_.signature)});
  ASSERT_TRUE(outcomes[0].fault.has_value());
  EXPECT_EQ(outcomes[0].fault->kind, FaultKind::kCrash);
  expect_right(outcomes[1], problem_);
  EXPECT_FALSE(outcomes[1].timings.at(0).samples.empty());
}

TEST_F(CpuFaultTest, PreparesWeightsOnceASetAndIsToldSo) {
  const std::string prepare = R"(
extern "C" size_t fib_prepared_bytes(const FibCall* call) { return call->inputs[1].shape[0] * 2; }
extern "C" int fib_prepare(const FibCall* call) {
  if (call->inputs[0].data || call->outputs[0].data || !call->prepared) return 7;
  std::memcpy(call->prepared, call->inputs[1].data, call->prepared_bytes);
  return 0;
}
)";
  const ContenderOutcome outcome = measure_one(
      problem_, solution_of("rmsnorm", rmsnorm_code("weight = (uint16_t*)call->prepared;", "",
                                                    prepare)));
  expect_right(outcome, problem_);
  EXPECT_EQ(outcome.prepared_bytes, 128u);
  EXPECT_GT(outcome.prepare_ns, 0.0);
}

}  // namespace
}  // namespace fib
