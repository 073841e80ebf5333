#pragma once

// Verdicts printed as they are made: a table a (solution, signature, device), or JSON lines.

#include <map>
#include <string>
#include <vector>

#include "harness/verdict.h"
#include "integrations/cli/context.h"

namespace fib {

class VerdictStream {
 public:
  // Column widths are taken from the problems to come, so that rows can be printed at once.
  VerdictStream(const Context& context, const std::vector<const Problem*>& problems);

  void print(const Verdict& verdict);

 private:
  struct AxisColumn {
    std::string name;
    size_t width = 0;
  };
  void print_heading(const Verdict& verdict);
  void print_failure(const Verdict& verdict);
  void print_pair_note(const Verdict& verdict);

  const Context& context_;
  std::map<std::string, std::vector<AxisColumn>> columns_;  // by signature
  std::string heading_;                                     // of the current table
  std::string last_failure_;  // a message is said once, not for each workload again
};

}  // namespace fib
