#include "integrations/cli/failure_log.h"

#include <gtest/gtest.h>

#include <sstream>

namespace fib {
namespace {

using std::chrono::seconds;

TEST(FailureLog, ALineAtOnceThenOneInAWhile) {
  std::ostringstream err;
  FailureLog log(err);
  const FailureLog::Clock::time_point start(seconds(1000));
  const Error broken{.code = ErrorCode::kUnsupported, .message = "a kernel failed", .where = "moe"};
  log.look(start);
  EXPECT_EQ(err.str(), "");
  log.note(broken);
  log.look(start);
  EXPECT_EQ(err.str(), "a request failed: moe: a kernel failed\n");

  err.str("");
  for (int i = 0; i < 1000; ++i) {
    log.note({.code = ErrorCode::kUnsupported, .message = std::to_string(i)});
    log.look(start + seconds(9));
  }
  EXPECT_EQ(err.str(), "");
  log.look(start + seconds(10));
  EXPECT_EQ(err.str(), "1000 requests failed, the last one: 999\n");
  log.look(start + seconds(30));
  EXPECT_EQ(err.str(), "1000 requests failed, the last one: 999\n");
}

TEST(FailureLog, TheEndWaitsForNothing) {
  std::ostringstream err;
  FailureLog log(err);
  log.note({.message = "one"});
  log.look(FailureLog::Clock::time_point(seconds(1000)));
  log.note({.message = "two"});
  log.finish();
  log.finish();
  EXPECT_EQ(err.str(), "a request failed: one\na request failed: two\n");
}

}  // namespace
}  // namespace fib
