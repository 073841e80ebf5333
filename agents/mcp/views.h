#pragma once

// Verdicts as agents are told them: all that helps to write a better kernel, nothing of seeds,
// expected values or the judge's insides, and never more than a bounded amount.

#include <string>
#include <vector>

#include "agents/mcp/workbench.h"

namespace fib::mcp {

// At most `lines` lines and `bytes` bytes, cut at a line's end where possible and saying so.
struct TextLimit {
  size_t lines = 60, bytes = 6000;
};
std::string shortened(std::string_view text, const TextLimit& limit);

std::string time_in_words(double ns);  // "12.3 us"

// A row: id, workload, status, time, error, roofline, pair.
Json verdict_row(const Verdict& verdict);
Json verdict_row_schema();
std::string verdict_line(const Verdict& verdict);  // one line of text

// One verdict in full.
Json verdict_explanation(const Verdict& verdict);
Json verdict_explanation_schema();
std::string verdict_page(const Verdict& verdict);

// Those that failed first; of more than a bounded number the rest is counted in `omitted`.
Json evaluation_to_json(const EvaluationReport& report);
Json evaluation_schema();
std::string evaluation_in_words(const EvaluationReport& report);

}  // namespace fib::mcp
