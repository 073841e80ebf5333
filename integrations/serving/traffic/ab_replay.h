#pragma once

// One side of a pair of blocks: traffic through an engine, with the answers kept.

#include "integrations/serving/traffic/ab_report.h"
#include "integrations/serving/traffic/replay.h"

namespace fib {

// `options.counters` is this function's own.
AbSide run_ab_side(const Traffic& traffic, Engine& engine, ReplayOptions options);

}  // namespace fib
