// Who rings for a kernel and who runs it don't share a processor.

#include "runners/cpu/processor_affinity.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <thread>

#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

cpu_set_t mine() {
  cpu_set_t processors;
  EXPECT_EQ(::sched_getaffinity(0, sizeof processors, &processors), 0);
  return processors;
}

class CpuAffinityTest : public CpuTest {
 protected:
  void SetUp() override {
    if (!split_) GTEST_SKIP() << "needs two processors";
  }
  const std::optional<ProcessorSplit> split_ = split_processors();
};

TEST_F(CpuAffinityTest, OneProcessorIsKeptForTheClock) {
  EXPECT_EQ(CPU_COUNT(&split_->clock), 1);
  cpu_set_t both, all = mine();
  CPU_AND(&both, &split_->clock, &split_->timed);
  EXPECT_EQ(CPU_COUNT(&both), 0);
  CPU_OR(&both, &split_->clock, &split_->timed);
  EXPECT_TRUE(CPU_EQUAL(&both, &all));
}

TEST_F(CpuAffinityTest, AScopeHoldsForWhatIsStartedInItAndEnds) {
  const cpu_set_t before = mine();
  {
    const AffinityScope scope(&split_->clock);
    cpu_set_t own = mine(), started;
    EXPECT_TRUE(CPU_EQUAL(&own, &split_->clock));
    std::thread([&] { started = mine(); }).join();
    EXPECT_TRUE(CPU_EQUAL(&started, &split_->clock));
  }
  cpu_set_t after = mine();
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
  const AffinityScope none(nullptr);
  after = mine();
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST_F(CpuAffinityTest, ACandidateMayRunOnAllButTheClocksProcessor) {
  int clock = 0;
  while (!CPU_ISSET(clock, &split_->clock)) ++clock;
  const cpu_set_t before = mine();
  const auto signature = signature_of("rmsnorm/rmsnorm", "rmsnorm_h64");
  const Solution solution = solution_of(
      "rmsnorm", fmt::format("#include <fib/cpu.h>\n"
                             "#include <sched.h>\n"
                             "extern \"C\" int fib_run(const FibCall*) {{\n"
                             "  cpu_set_t mine;\n"
                             "  if (sched_getaffinity(0, sizeof mine, &mine) != 0) return 1;\n"
                             "  return CPU_ISSET({}, &mine) ? 2 : 1000 + CPU_COUNT(&mine);\n"
                             "}}\n",
                             clock));
  const ContenderOutcome outcome =
      measure_one(problem_of(signature, {{"batch_size", 7}}), solution);
  ASSERT_TRUE(outcome.fault);
  EXPECT_THAT(outcome.fault->message,
              testing::HasSubstr(fmt::format("returned {}", 1000 + CPU_COUNT(&split_->timed))));
  cpu_set_t after = mine();
  EXPECT_TRUE(CPU_EQUAL(&before, &after)) << "the judge itself may go everywhere again";
}

}  // namespace
}  // namespace fib
