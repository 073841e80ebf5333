#pragma once

// What a package's manifest promises of its winners.

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

// By signature and solution: how many times as fast as the package's fallback the solution was, the
// geometric mean over the buckets that it won on this hardware.
using PromisedSpeedups = std::map<std::pair<std::string, std::string>, double>;

// kInvalidInput for a manifest that isn't one.
Result<PromisedSpeedups> promised_speedups(const Json& manifest, std::string_view hardware);

}  // namespace fib
