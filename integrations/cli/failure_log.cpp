#include "integrations/cli/failure_log.h"

#include <fmt/format.h>

#include <utility>

namespace fib {

void FailureLog::note(const Error& error) {
  const std::lock_guard lock(mutex_);
  ++num_failed_;
  last_error_ = error.to_string();
}

void FailureLog::look(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (num_failed_ == 0 || now < next_line_) return;
  write();
  next_line_ = now + kInterval;
}

void FailureLog::finish() {
  const std::lock_guard lock(mutex_);
  if (num_failed_ > 0) write();
}

void FailureLog::write() {
  const uint64_t count = std::exchange(num_failed_, 0);
  err_ << (count == 1 ? fmt::format("a request failed: {}\n", last_error_)
                      : fmt::format("{} requests failed, the last one: {}\n", count, last_error_));
}

}  // namespace fib
