#pragma once

// What changed between two versions of a solution's sources.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/trace.h"

namespace fib::agents {

struct FileDiff {
  std::string path;
  int64_t added = 0, removed = 0;  // lines
  std::string hunks;               // unified, two lines of context, without a header
};

// Files that differ, in the order of `after`, those that are gone last.
std::vector<FileDiff> diff_sources(const std::vector<SourceFile>& before,
                                   const std::vector<SourceFile>& after);

}  // namespace fib::agents
