#include "harness/local_time.h"

#include <fmt/chrono.h>

#include <ctime>

namespace fib {

std::string local_timestamp() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}", fmt::localtime(std::time(nullptr)));
}

}  // namespace fib
