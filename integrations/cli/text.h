#pragma once

// Small text helpers of the commands.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fib {

std::vector<std::string> split(std::string_view text, char separator);

// At most `count` lines, each indented; "... n more lines" after them.
std::string first_lines(std::string_view text, size_t count, std::string_view indent);

// "1 workload", "2 workloads".
std::string counted(int64_t count, std::string_view noun);

}  // namespace fib
