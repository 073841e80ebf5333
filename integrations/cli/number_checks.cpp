#include "integrations/cli/number_checks.h"

#include <fmt/format.h>

#include <string>

namespace fib {
namespace {

template <class IsInside>
CLI::Validator check(const std::string& range, IsInside is_inside) {
  return CLI::Validator(
      [=](std::string& text) {
        double x = 0.0;
        const bool is_number = CLI::detail::lexical_cast(text, x);
        return is_number && is_inside(x) ? std::string()
                                         : fmt::format("{} is not a number {}", text, range);
      },
      "");
}

}  // namespace

// Comparisons are written so that NaN fails them.
CLI::Validator number_from(double low, double high) {
  return check(fmt::format("from {} to {}", low, high),
               [=](double x) { return x >= low && x <= high; });
}

CLI::Validator number_above(double low, double high) {
  const bool is_open = high == std::numeric_limits<double>::max();
  return check(is_open ? fmt::format("above {}", low) : fmt::format("above {}, up to {}", low, high),
               [=](double x) { return x > low && x <= high; });
}

}  // namespace fib
