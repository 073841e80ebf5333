#pragma once

// Checks of what `fib agent` takes for numbers. CLI11's own tell a range of doubles.

#include <CLI/CLI.hpp>

namespace fib {

CLI::Validator run_number();        // from 1, as 'fib agent list' shows it
CLI::Validator candidate_number();  // from 0
CLI::Validator whole_count();       // from 1

}  // namespace fib
