#pragma once

// Verdicts and their parts as JSON; verdict.h has the entry points.

#include "harness/compare.h"
#include "signatures/base/json.h"

namespace fib {

Json error_stats_to_json(const ErrorStats& stats);
Result<ErrorStats> error_stats_from_json(const JsonView& view);

// A number, or "Infinity", "-Infinity", "NaN": JSON has no spelling for those.
Json number_to_json(double value);

}  // namespace fib
