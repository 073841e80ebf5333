#pragma once

// Requests that fail, told to whoever looks after the server: a line at once, then one in a while,
// however many fail.

#include <chrono>
#include <cstdint>
#include <mutex>
#include <ostream>
#include <string>

#include "signatures/base/result.h"

namespace fib {

class FailureLog {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kInterval = std::chrono::seconds(10);  // between two lines

  explicit FailureLog(std::ostream& err) : err_(err) {}

  void note(const Error& error);  // a request's; from any thread
  // From one thread, often.
  void look(Clock::time_point now);
  void finish();  // what is left, at once

 private:
  void write();  // under the lock

  std::ostream& err_;
  std::mutex mutex_;
  uint64_t num_failed_ = 0;  // since the last line
  std::string last_error_;
  Clock::time_point next_line_;
};

}  // namespace fib
