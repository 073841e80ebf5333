#pragma once

// A search in words: a row of `fib agent list`, and the page of `fib agent show`.

#include <cstddef>
#include <string>
#include <string_view>

#include "agents/report/run_report.h"
#include "integrations/cli/context.h"

namespace fib {

// What others wrote - models, programs, authors - without what would steer a terminal.
std::string printable(std::string_view text);

std::string state_cell(const RunRecord& run, const Style& style);  // "running" in green
std::string seconds_cell(double seconds);                          // "42 s", "12.5 min", "7.1 h"
std::string money_cell(double money);                              // "0.125"; "" for none
// "1.310x 1.280-1.340, confirmed", else its fate and reason.
std::string outcome_cell(const CandidateRecord& candidate, const Style& style);

// All there is to say of a run, with the best `limit` candidates and kinds.
void print_report(const Context& context, const agents::RunReport& report, size_t limit);

}  // namespace fib
