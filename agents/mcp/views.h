#pragma once

// Verdicts as agents are told them: all that helps to write a better kernel, nothing of seeds,
// expected values or the judge's insides, and never more than a bounded amount.

#include <string>
#include <vector>

#include "agents/mcp/workbench.h"
#include "agents/text.h"

namespace fib::mcp {

// A row: id, workload, status, time, error, roofline, pair.
Json verdict_row(const Verdict& verdict);
Json verdict_row_schema();
std::string verdict_headline(const Verdict& verdict);  // one line of text
std::string verdict_line(const Verdict& verdict);      // with the message below
// The output that is most in need of attention; null: it has none.
const OutputVerdict* worst_output(const Verdict& verdict);

// Those that failed first; of more than a bounded number the rest is counted in `omitted`.
Json evaluation_to_json(const EvaluationReport& report);
Json evaluation_schema();
std::string evaluation_in_words(const EvaluationReport& report);

}  // namespace fib::mcp
