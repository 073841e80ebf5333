#pragma once

// Checks of options that are numbers. CLI11's own ranges let NaN through.

#include <CLI/CLI.hpp>
#include <limits>

namespace fib {

// low <= x <= high
CLI::Validator number_from(double low, double high);

// low < x <= high; infinity is beyond any limit.
CLI::Validator number_above(double low, double high = std::numeric_limits<double>::max());

}  // namespace fib
