#pragma once

// The command line: parsing, the options that all commands share, exit codes.

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fib {

// What the surroundings say; main() reads it, nothing else does.
struct Environment {
  std::filesystem::path executable;
  std::optional<std::string> store;        // $FIB_STORE
  std::optional<std::string> cache_home;   // $XDG_CACHE_HOME
  std::optional<std::string> user_home;    // $HOME
  std::optional<std::string> cuda_home;    // $CUDA_HOME
  std::optional<std::string> virtual_env;  // $VIRTUAL_ENV
  std::vector<std::pair<std::string, std::string>> profiler_variables;  // context.h
  bool wants_color = false;                // TERM and NO_COLOR
  bool out_is_terminal = false, err_is_terminal = false;
};

// Runs one command and returns the exit code: 0 passed, 1 a verdict that didn't pass, 2 usage or
// bad input, 3 environment, 130 interrupted.
int run_app(int argc, const char* const* argv, const Environment& environment, std::ostream& out,
            std::ostream& err);

}  // namespace fib
