// fib profile on a card: kernels, resources, and counters where Nsight Compute may read them.

#include <gmock/gmock.h>

#include "tests/integrations/fib_process.h"

namespace fib::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

TEST_F(FibUser, ProfilesOnACard) {
  ASSERT_EQ(
      fib({"solution", "new", "mine", "--signature", "rmsnorm_h4096", "--target", "cuda"}).code, 0);
  const Finished finished =
      fib({"profile", "mine", "--signature", "rmsnorm_h4096", "--quick", "--limit", "1"});
  constexpr int kNoDevice = 3;
  if (finished.code == kNoDevice) GTEST_SKIP() << finished.err;
  ASSERT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_THAT(finished.out, AllOf(HasSubstr("# mine: right on 1 of 1"), HasSubstr("## Kernels of"),
                                  HasSubstr("of the warps fit"), HasSubstr("registers a thread")));
  // Without ncu, or the right to read counters, the reason is there instead.
  EXPECT_THAT(finished.out,
              AnyOf(HasSubstr("to and from device memory"), HasSubstr("counters: not read: ")));
  const size_t counters = finished.out.find("counters: ");
  if (counters != std::string::npos) GTEST_LOG_(INFO) << finished.out.substr(counters);
}

}  // namespace
}  // namespace fib::testing
