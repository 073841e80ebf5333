#pragma once

// What a search may use, as people say it: "200", "2h", "500000tok", "5usd".

#include <string>
#include <vector>

#include "agents/search/tally.h"
#include "integrations/cli/agent_proposers.h"
#include "signatures/base/result.h"

namespace fib {

// Each of `texts` may name several, with commas between them; together at most one of a kind.
// Errors name the part.
Result<agents::Amounts> parse_budget(const std::vector<std::string>& texts);

// What a run that is resumed may use: of each kind what is `given` now, else what was `stored`.
// "no-candidates", "no-time", "no-tokens" and "no-money" take one away. Error: nothing is left.
Result<std::vector<std::string>> merge_budgets(const std::vector<std::string>& stored,
                                               const std::vector<std::string>& given);

// Errors: money where a model has no price; only money and tokens where nobody uses any.
Result<void> check_budget(const agents::Amounts& budget, const ProposerArgs& proposers);

// "200 candidates, 2.00 h"; what is zero is left out.
std::string budget_in_words(const agents::Amounts& budget);

}  // namespace fib
