#pragma once

// Who was made of whom, as a tree of lines.

#include <iosfwd>
#include <optional>

#include "agents/report/run_report.h"
#include "integrations/cli/terminal.h"

namespace fib {

enum class TreeLeaves {
  kSummed,  // those that came to nothing and have no children are one line, by what became of them
  kEach,
};

struct TreeView {
  std::optional<int64_t> of;  // only what led to this one and what came of it
  TreeLeaves leaves = TreeLeaves::kSummed;
};

void print_tree(std::ostream& out, const Style& style, const agents::RunReport& report,
                const TreeView& view);

// The candidates that print_tree would show with each leaf, by number.
Json tree_to_json(const agents::RunReport& report, const std::optional<int64_t>& of);

}  // namespace fib
