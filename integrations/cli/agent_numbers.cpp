#include "integrations/cli/agent_numbers.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <string>

namespace fib {

namespace {

CLI::Validator whole_from(int64_t least, const char* what) {
  return CLI::Validator(
      [=](std::string& text) {
        int64_t number = 0;
        const char* end = text.data() + text.size();
        const auto [read, trouble] = std::from_chars(text.data(), end, number);
        const bool is_one = trouble == std::errc() && read == end && number >= least;
        return is_one ? std::string() : fmt::format("'{}' must be {}", text, what);
      },
      "");
}

}  // namespace

CLI::Validator run_number() { return whole_from(1, "a run's number: 'fib agent list' has them"); }

CLI::Validator candidate_number() {
  return whole_from(0, "a candidate's number: 'fib agent tree RUN' has them");
}

CLI::Validator whole_count() { return whole_from(1, "a whole number from 1"); }

}  // namespace fib
