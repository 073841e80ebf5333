#include "tests/integrations/serving/model/profile_checks.h"

namespace fib {
namespace {

TEST(SampledSteps, AreTimedCallByCallAndChangeNothing) { expect_sampled_steps("cpu", false); }
TEST(SampledSteps, OfPrefillAreCountedAlone) { expect_sampled_steps("cpu", true); }

}  // namespace
}  // namespace fib
