#pragma once

// What the feedback (agents/feedback) says of one verdict, and of a profile: as JSON, its schema,
// and as text. Bounded; and nothing of seeds, expected values and the judge's thresholds.

#include "agents/mcp/workbench.h"

namespace fib::mcp {

// One verdict in full. `solution` is its own, whose sources are quoted.
Json verdict_explanation(const Verdict& verdict, const Solution& solution);
Json verdict_explanation_schema();
std::string verdict_page(const Verdict& verdict, const Solution& solution);

Json profile_to_json(const ProfileReport& report);
Json profile_schema();
std::string profile_in_words(const ProfileReport& report);

}  // namespace fib::mcp
