#include "runners/cuda/profile_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "signatures/base/file.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// In the format of ncu's documentation: its messages, then columns, units and a row a launch.
std::string recorded() {
  return read_file(FIB_SOURCE_DIR "/tests/runners/fixtures/ncu_raw.csv").value();
}

TEST(ProfileCounters, AreReadOfTheFirstLaunchOfEachKernel) {
  const auto report = read_ncu_report(recorded());
  ASSERT_TRUE(report) << report.error().to_string();
  ASSERT_THAT(report->kernels, SizeIs(2));
  const CounterReading& kernel = report->kernels[0];
  EXPECT_EQ(bare_kernel_name(kernel.kernel), "rmsnorm");
  EXPECT_DOUBLE_EQ(*kernel.device_bytes, 1234567.0);
  EXPECT_DOUBLE_EQ(*kernel.occupancy, 0.4125);
  EXPECT_DOUBLE_EQ(*kernel.theoretical_occupancy, 0.5);
  EXPECT_DOUBLE_EQ(*kernel.bank_conflicts, 0.0);
  ASSERT_THAT(kernel.stalls, SizeIs(3));
  EXPECT_EQ(kernel.stalls[0].first, "long scoreboard");
  EXPECT_DOUBLE_EQ(kernel.stalls[0].second, 0.6);
  EXPECT_EQ(kernel.stalls[1].first, "barrier");
}

TEST(ProfileCounters, ThatAreMissingAreLeftOutWithTheReason) {
  const auto report = read_ncu_report(recorded());
  ASSERT_TRUE(report);
  const CounterReading& kernel = report->kernels[1];
  EXPECT_FALSE(kernel.occupancy);
  EXPECT_DOUBLE_EQ(*kernel.bank_conflicts, 12.0);
  EXPECT_THAT(report->missing,
              ElementsAre("combine: no occupancy: n/a", "combine: no stalls by tex_throttle: n/a"));
}

TEST(ProfileCounters, OfOtherUnitsAreConvertedOrLeftOut) {
  const auto read = [](const std::string& unit) {
    return read_ncu_report("\"ID\",\"Kernel Name\",\"dram__bytes.sum\"\n\"\",\"\",\"" + unit +
                           "\"\n\"0\",\"k\",\"1.5\"\n");
  };
  EXPECT_DOUBLE_EQ(*read("Kbyte")->kernels[0].device_bytes, 1500.0);
  EXPECT_FALSE(read("sector")->kernels[0].device_bytes);
  EXPECT_THAT(read("sector")->missing,
              Contains("k: no device bytes: in an unknown unit, 'sector'"));
}

TEST(ProfileCounters, WithoutPermissionSayWhatToDo) {
  const auto report = read_ncu_report(
      "==PROF== Connected to process 1\n"
      "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU "
      "Performance Counters on the target device 0.\n");
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(report.error().remedy, HasSubstr("NVreg_RestrictProfilingToAdminUsers=0"));
}

TEST(ProfileCounters, OfReportsThatAreNoneAreErrors) {
  EXPECT_THAT(read_ncu_report("").error().message, HasSubstr("holds no table"));
  EXPECT_THAT(read_ncu_report("==WARNING== No kernels were profiled.\n").error().message,
              HasSubstr("No kernels were profiled"));
  EXPECT_THAT(read_ncu_report("\"ID\",\"Kernel Name\"\n\"\",\"\"\n\"0\"\n").error().where,
              HasSubstr(":3"));
  EXPECT_THAT(read_ncu_report("\"ID\",\"Kernel\n").error().message, HasSubstr("quote"));
  EXPECT_THAT(read_ncu_report("\"ID\",\"X\"\n\"\",\"\"\n\"0\",\"1\"\n").error().message,
              HasSubstr("'Kernel Name'"));
  std::string cut = recorded();
  cut.resize(cut.size() - 20);
  EXPECT_FALSE(read_ncu_report(cut));
}

TEST(ProfileCounters, AskForTheSolutionsKernelsOnly) {
  const auto arguments =
      ncu_arguments({.kernels = {"a", "b"}, .report = "r.csv", .command = {"fib", "submit"}});
  EXPECT_THAT(arguments, Contains("regex:^(a|b)$"));
  EXPECT_THAT(arguments, Contains("r.csv"));
  EXPECT_THAT(arguments, Contains(HasSubstr("dram__bytes.sum,")));
  EXPECT_EQ(arguments[arguments.size() - 2], "fib");
  EXPECT_EQ(arguments.back(), "submit");
}

TEST(ProfileCounters, KernelsAreKnownByTheirBareNames) {
  EXPECT_EQ(bare_kernel_name("void space::rmsnorm<4096, f(1)>(float const*)"), "rmsnorm");
  EXPECT_EQ(bare_kernel_name("plain"), "plain");
  EXPECT_EQ(bare_kernel_name("(anonymous namespace)::k(int)"), "k");
  EXPECT_EQ(bare_kernel_name(""), "");
}

TEST(ProfileCounters, NcuIsFoundWhereToolkitsHaveIt) {
  const ScratchFolder toolkit;
  std::filesystem::create_directories(toolkit / "bin");
  std::ofstream(toolkit / "bin/ncu") << "#!/bin/sh\n";
  const CudaSearch search{.roots = {toolkit.path()}};
  const auto as_file = find_ncu(search, "");
  EXPECT_TRUE(!as_file || *as_file != toolkit / "bin/ncu");  // no program yet
  std::filesystem::permissions(toolkit / "bin/ncu", std::filesystem::perms::owner_all);
  EXPECT_EQ(find_ncu(search, "").value(), toolkit / "bin/ncu");
  EXPECT_EQ(find_ncu({}, "relative:" + (toolkit / "bin").string()).value(), toolkit / "bin/ncu");
}

}  // namespace
}  // namespace fib
