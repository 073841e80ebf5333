#pragma once

// Numbers as people read them: three significant digits and a unit.

#include <string>
#include <string_view>

#include "harness/statistics.h"
#include "signatures/base/result.h"

namespace fib {

std::string format_duration_ns(double ns);                   // "3.21 µs"
std::string format_interval(const MedianInterval& latency);  // "3.21 µs ±0.4 %"
std::string format_bandwidth(double bytes_per_s);            // "612 GB/s", "2.10 TB/s"
std::string format_flops(double flops_per_s);                // "45.2 TFLOP/s"
std::string format_bytes(double bytes);                      // "1.50 GiB"
std::string format_percent(double fraction);                 // "63 %"
std::string format_factor(double factor);                    // "1.21x"
// With its interval, to the tenth of a percent: "1.213x 1.198-1.227".
std::string format_speedup(double speedup, double low, double high);

// "500M", "2G", "1024" as bytes. The error's place is `where`: the option.
Result<uint64_t> parse_bytes(const std::string& text, std::string_view where);

}  // namespace fib
