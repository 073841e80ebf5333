#pragma once

// A run as a picture, over the numbers of its candidates: above, how fast each is and the best so
// far; between, those that came to nothing; below, who was made of whom.

#include <string>

#include "agents/report/run_report.h"

namespace fib::agents {

// A whole SVG document, readable by itself on light and dark paper, without scripts.
std::string lineage_svg(const RunReport& report);

}  // namespace fib::agents
