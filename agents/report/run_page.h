#pragma once

// A run as one HTML file: the picture, the tables, and what there is to say of the candidates that
// matter, unfolded on demand. Nothing is loaded from anywhere, and nothing is a script.

#include <cstdint>
#include <string>
#include <vector>

#include "agents/report/run_report.h"

namespace fib::agents {

// What the records of a run don't have in words. Each may be empty.
struct CandidateDetails {
  int64_t number = 0;
  std::string feedback;    // Markdown
  std::string difference;  // from the parent, a unified diff
  std::vector<Exchange> exchanges;
};

std::string run_page(const RunReport& report, const std::vector<CandidateDetails>& details);

}  // namespace fib::agents
