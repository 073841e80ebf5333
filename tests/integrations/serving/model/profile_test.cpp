#include "tests/integrations/serving/model/profile_checks.h"

namespace fib {
namespace {

TEST(SampledSteps, AreTimedCallByCallAndChangeNothing) { expect_sampled_steps("cpu"); }

}  // namespace
}  // namespace fib
