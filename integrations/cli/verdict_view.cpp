#include "integrations/cli/verdict_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ostream>

#include "integrations/cli/text.h"
#include "integrations/cli/units.h"

namespace fib {

namespace {

constexpr size_t kLogLines = 40;
constexpr int kHistogramBars = 12;

// A bar of eighths of a column.
std::string bar(double fraction, int columns) {
  static constexpr std::array kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::lround(fraction * columns * 8));
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  return text + kEighths[eighths % 8];
}

void print_heading(std::ostream& out, const Style& style, std::string_view title) {
  out << "\n" << style.bold(title) << "\n";
}

void print_errors(std::ostream& out, const Style& style, const OutputVerdict& output) {
  const ErrorStats& stats = output.stats;
  out << fmt::format("  {}  {}\n", output.name,
                     output.passed ? style.green("passed") : style.red("failed"));
  Table table({{""}, {""}});
  table.add({"elements", fmt::format("{}", stats.count)});
  table.add({"relative RMS error",
             fmt::format("{:.3g}, {} an honest implementation's {:.3g}", stats.relative_rms_error(),
                         format_factor(output.honest_ratio), output.honest_relative_rms)});
  table.add({"worst element", fmt::format("{:.3g} absolute, {:.3g} relative, {:.3g} of its row",
                                          stats.max_absolute_error, stats.max_relative_error,
                                          stats.max_normalised_error)});
  table.add({"NaN or Inf mismatches", fmt::format("{}", stats.nonfinite_mismatches)});
  table.add({"elements over the bound", fmt::format("{}", stats.elements_over_bound)});
  if (stats.first_bad_index >= 0) {
    table.add({"first bad index", fmt::format("{}", stats.first_bad_index)});
  }
  table.print(out, style, "    ");
  const int64_t most = *std::max_element(stats.histogram.begin(), stats.histogram.end());
  if (most == 0) return;
  out << style.dim("    error against the scale of its row\n");
  for (int bin = 0; bin < kErrorBins; ++bin) {
    if (stats.histogram[bin] == 0) continue;
    out << fmt::format("    {} 2^{:<4} {:>12}  {}\n", bin == 0 ? "<" : "~",
                       bin - kErrorBins + (bin == 0 ? 1 : 0), stats.histogram[bin],
                       bar(static_cast<double>(stats.histogram[bin]) / most, 30));
  }
}

void print_timings(std::ostream& out, const Style& style, const Verdict& verdict) {
  print_heading(out, style, "Time");
  Table table({{"mode"},
               {"median", Align::kRight},
               {"95 % interval"},
               {"samples", Align::kRight},
               {"clock"},
               {""}});
  for (const ModeSummary& timing : verdict.timings) {
    table.add({std::string(timing_mode_name(timing.mode)),
               format_duration_ns(timing.latency_ns.median),
               fmt::format("{} to {}", format_duration_ns(timing.latency_ns.low),
                           format_duration_ns(timing.latency_ns.high)),
               fmt::format("{}", timing.samples), std::string(clock_name(timing.clock)),
               timing.throttled ? style.yellow("throttled") : ""});
  }
  table.print(out, style, "  ");
}

// The cold samples, so that two peaks or a long tail are seen.
void print_sample_histogram(std::ostream& out, const Style& style, const ModeTiming& timing) {
  std::vector<double> times;
  for (const Sample& sample : timing.samples) times.push_back(sample.time_ns);
  if (times.size() < 2) return;
  const double low = *std::min_element(times.begin(), times.end());
  // The far tail shares the last bar.
  const double high = std::max(quantile(times, 0.98), low * 1.0001);
  std::array<int64_t, kHistogramBars> counts{};
  for (double time : times) {
    const double position = (time - low) / (high - low) * kHistogramBars;
    ++counts[std::min(static_cast<int>(position), kHistogramBars - 1)];
  }
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  out << style.dim(fmt::format("  {} samples\n", timing_mode_name(timing.mode)));
  for (int i = 0; i < kHistogramBars; ++i) {
    const double begin = low + (high - low) * i / kHistogramBars;
    out << fmt::format(
        "  {} {}  {}\n", pad(format_duration_ns(begin), 9, Align::kRight),
        i + 1 == kHistogramBars ? "up " : "   ",
        counts[i] == 0 ? "" : fmt::format("{} {}", bar(double(counts[i]) / most, 30), counts[i]));
  }
}

void print_roofline(std::ostream& out, const Style& style, const Verdict& verdict) {
  const Roofline& roofline = verdict.roofline;
  if (roofline.floor_ns <= 0.0) return;
  print_heading(out, style, "Roofline");
  out << fmt::format("  {} and {:.4g} operations take at least {} ({} bound; {})\n",
                     format_bytes(roofline.bytes), roofline.flops,
                     format_duration_ns(roofline.floor_ns), roofline.bound,
                     verdict.device.ceilings_source);
  if (roofline.fraction > 0.0) {
    out << fmt::format("  reached: {} of it, {}\n", roofline_cell(verdict), rate_cell(verdict));
  }
}

void print_kernels(std::ostream& out, const Style& style, const Verdict& verdict) {
  if (verdict.kernels.empty()) return;
  print_heading(out, style, "Kernels");
  Table table({{"share", Align::kRight},
               {"grid"},
               {"block"},
               {"registers", Align::kRight},
               {"shared", Align::kRight},
               {"name"}});
  const auto dims = [](const uint32_t(&size)[3]) {
    return fmt::format("{}x{}x{}", size[0], size[1], size[2]);
  };
  for (const KernelShare& kernel : verdict.kernels) {
    table.add({format_percent(kernel.share), dims(kernel.grid), dims(kernel.block),
               fmt::format("{}", kernel.registers), format_bytes(kernel.shared_bytes),
               kernel.name});
  }
  table.print(out, style, "  ");
}

}  // namespace

std::string rate_cell(const Verdict& verdict) {
  const ModeSummary* cold = verdict.timing(TimingMode::kCold);
  if (cold == nullptr || cold->latency_ns.median <= 0.0) return {};
  const double seconds = cold->latency_ns.median / 1e9;
  if (verdict.roofline.bound == "memory") return format_bandwidth(verdict.roofline.bytes / seconds);
  if (verdict.roofline.bound == "compute") return format_flops(verdict.roofline.flops / seconds);
  return {};
}

std::string roofline_cell(const Verdict& verdict) {
  return verdict.roofline.fraction > 0.0 ? format_percent(verdict.roofline.fraction) : "";
}

std::string error_cell(const Verdict& verdict) {
  if (verdict.outputs.empty()) return {};
  double worst = 0.0;
  bool is_exact = true;
  for (const OutputVerdict& output : verdict.outputs) {
    worst = std::max(worst, output.honest_ratio);
    is_exact =
        is_exact && output.stats.sum_squared_error == 0.0 && output.stats.nonfinite_mismatches == 0;
  }
  return is_exact ? "exact" : format_factor(worst) + " honest";
}

std::string status_cell(const Verdict& verdict, const Style& style) {
  const std::string status(trace_status_name(verdict.status));
  if (verdict.status == VerdictStatus::kPassed) return style.green(status);
  if (verdict.reason.empty()) return style.red(status);
  return style.red(status) + " (" + verdict.reason + ")";
}

std::string pair_cell(const Verdict& verdict, const Style& style) {
  if (verdict.incumbent.empty()) return {};
  std::string result;
  switch (verdict.paired) {
    case PairedResult::kNone: return style.dim("not paired");
    case PairedResult::kFaster:
      result = verdict.is_confirmed ? style.green("FASTER, confirmed") : "FASTER, not confirmed";
      break;
    case PairedResult::kSlower: result = style.red("SLOWER"); break;
    case PairedResult::kSame: result = "SAME"; break;
    case PairedResult::kAmbiguous: result = style.yellow("AMBIGUOUS"); break;
  }
  return format_speedup(verdict.speedup.value(), verdict.speedup_low.value(),
                        verdict.speedup_high.value()) +
         "  " + result;
}

std::string axes_text(const Json& axes) {
  std::string text;
  for (const auto& [name, value] : axes.items()) {
    if (!text.empty()) text += " ";
    text += name + "=" + value.dump();
  }
  return text;
}

void print_verdict(std::ostream& out, const Style& style, const Verdict& verdict) {
  out << style.bold(fmt::format("Verdict {}", verdict.id)) << "  " << status_cell(verdict, style)
      << "\n\n";
  Table facts({{""}, {""}});
  facts.add({"solution", fmt::format("{} ({})", verdict.solution, verdict.solution_key)});
  facts.add({"signature", verdict.signature});
  facts.add({"workload", fmt::format("{} ({}), weight {:g}", axes_text(verdict.axes),
                                     verdict.workload, verdict.workload_weight)});
  facts.add({"hardware", fmt::format("{} ({}, {})", verdict.device.name, verdict.device.target,
                                     verdict.device.architecture)});
  for (const auto& [library, version] : verdict.device.libraries) {
    facts.add({"", fmt::format("{} {}", library, version)});
  }
  facts.add({"configuration", verdict.config_key});
  facts.add({"when", fmt::format("{}, {:.1f} s", verdict.timestamp, verdict.wall_s)});
  facts.add(
      {"calls", fmt::format("{} checked, {} timed", verdict.calls_checked, verdict.calls_timed)});
  facts.add({"build",
             verdict.build_cached ? "from the cache" : format_duration_ns(verdict.build_ms * 1e6)});
  if (verdict.workspace_bytes > 0) {
    facts.add({"workspace", format_bytes(static_cast<double>(verdict.workspace_bytes))});
  }
  if (verdict.prepare_ns > 0.0) {
    facts.add({"prepare", fmt::format("{}, {}", format_duration_ns(verdict.prepare_ns),
                                      format_bytes(static_cast<double>(verdict.prepared_bytes)))});
  }
  if (!verdict.incumbent.empty()) {
    facts.add({"against", fmt::format("{} ({})", verdict.incumbent, verdict.incumbent_key)});
    facts.add({"", pair_cell(verdict, style)});
  }
  if (verdict.noise_floor) {
    facts.add({"", fmt::format("two copies of it differ by up to {:.1f} %",
                               *verdict.noise_floor * 100.0)});
  }
  if (!verdict.paired_note.empty()) facts.add({"", verdict.paired_note});
  facts.print(out, style, "  ");
  if (!verdict.message.empty()) {
    print_heading(out, style, "Message");
    out << first_lines(verdict.message, kLogLines, "  ");
  }
  if (!verdict.outputs.empty()) print_heading(out, style, "Outputs");
  for (const OutputVerdict& output : verdict.outputs) print_errors(out, style, output);
  if (!verdict.timings.empty()) print_timings(out, style, verdict);
  for (const ModeTiming& timing : verdict.samples) {
    if (timing.mode == TimingMode::kCold) print_sample_histogram(out, style, timing);
  }
  print_roofline(out, style, verdict);
  print_kernels(out, style, verdict);
  if (!verdict.log.empty()) {
    print_heading(out, style, "Log");
    out << first_lines(verdict.log, kLogLines, "  ");
  }
}

}  // namespace fib
