#pragma once

// Solution folders at any depth.

#include <filesystem>
#include <string>
#include <vector>

#include "signatures/solution_folder.h"

namespace fib {

// Every folder below `root` (or `root` itself) with a solution.json, sorted by path. The first one
// that can't be read is the error.
Result<std::vector<Solution>> read_solutions_below(const std::filesystem::path& root);

// Files below `root` whose name ends with one of `endings`, sorted; empty if there is no `root`.
std::vector<std::filesystem::path> files_below(const std::filesystem::path& root,
                                               const std::vector<std::string>& endings);

}  // namespace fib
