#include "integrations/cli/units.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <initializer_list>
#include <string_view>

namespace fib {

namespace {

// Three significant digits, without an exponent for what people meet.
std::string three_digits(double value) {
  const double magnitude = std::fabs(value);
  if (magnitude >= 99.95 || magnitude == 0.0) return fmt::format("{:.0f}", value);
  if (magnitude >= 9.995) return fmt::format("{:.1f}", value);
  return fmt::format("{:.2f}", value);
}

// The largest unit in which the value is at least 1; units go up by `step`.
std::string scaled(double value, double step, std::initializer_list<std::string_view> units) {
  auto unit = units.begin();
  while (unit + 1 != units.end() && std::fabs(value) >= 0.9995 * step) {
    value /= step;
    ++unit;
  }
  return fmt::format("{} {}", three_digits(value), *unit);
}

}  // namespace

std::string format_duration_ns(double ns) { return scaled(ns, 1000.0, {"ns", "µs", "ms", "s"}); }

std::string format_interval(const MedianInterval& latency) {
  return fmt::format("{} ±{:.1f} %", format_duration_ns(latency.median),
                     100.0 * latency.relative_half_width());
}

std::string format_bandwidth(double bytes_per_s) {
  return scaled(bytes_per_s / 1e6, 1000.0, {"MB/s", "GB/s", "TB/s"});
}

std::string format_flops(double flops_per_s) {
  return scaled(flops_per_s / 1e6, 1000.0, {"MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"});
}

std::string format_bytes(double bytes) {
  return scaled(bytes, 1024.0, {"B", "KiB", "MiB", "GiB", "TiB"});
}

std::string format_percent(double fraction) {
  return fmt::format("{:.{}f} %", 100.0 * fraction, fraction < 0.0995 ? 1 : 0);
}

std::string format_factor(double factor) { return three_digits(factor) + "x"; }

std::string format_speedup(double speedup, double low, double high) {
  return fmt::format("{:.3f}x {:.3f}-{:.3f}", speedup, low, high);
}

Result<uint64_t> parse_bytes(const std::string& text, std::string_view where) {
  double number = 0.0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const std::pair<const char*, double> units[] = {
      {"", 1.0}, {"K", 1024.0}, {"M", 1048576.0}, {"G", 1073741824.0}, {"T", 1099511627776.0}};
  if (trouble == std::errc() && number >= 0.0) {
    for (const auto& [name, factor] : units) {
      if (unit == name) return static_cast<uint64_t>(number * factor);
    }
  }
  return fail(ErrorCode::kInvalidInput, fmt::format("'{}' is no size", text), std::string(where),
              "a number with K, M, G or T behind it, as 2G");
}

}  // namespace fib
