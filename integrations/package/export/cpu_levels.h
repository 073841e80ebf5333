#pragma once

// The instruction sets that a package's host code comes in.

#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

// Best first, as the run-time library tries them: "native", which runs only on processors like this
// one, then "x86-64-v4-amx", "x86-64-v4-bf16", "x86-64-v4", "x86-64-v3".
std::vector<std::string_view> cpu_level_names();

// Flags of a compile for the level: those of the harness. kInvalidInput for an unknown level,
// kUnsupported for one of another architecture than this machine's.
Result<std::vector<std::string>> cpu_level_flags(std::string_view level);

// The levels best first, each once.
std::vector<std::string> sorted_cpu_levels(const std::vector<std::string>& levels);

}  // namespace fib
