#pragma once

// What a search may use, as people say it: "200", "2h", "500000tok", "5usd".

#include <string>
#include <vector>

#include "agents/search/tally.h"
#include "signatures/base/result.h"

namespace fib {

// Each of `texts` may name several, with commas between them; together at most one of a kind.
// Errors name the part.
Result<agents::Amounts> parse_budget(const std::vector<std::string>& texts);
// "200 candidates, 2.00 h"; what is zero is left out.
std::string budget_in_words(const agents::Amounts& budget);

}  // namespace fib
