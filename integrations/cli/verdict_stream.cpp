#include "integrations/cli/verdict_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "integrations/cli/verdict_view.h"

namespace fib {

namespace {

constexpr size_t kBriefLogLines = 6;
constexpr size_t kStatusWidth = 6;  // "PASSED"
constexpr size_t kTimeWidth = 15;   // "3.21 µs ±0.4 %"
constexpr size_t kRateWidth = 12;   // "45.2 TFLOP/s"
constexpr size_t kRooflineWidth = 8;
constexpr size_t kErrorWidth = 13;  // "1.21x honest"

}  // namespace

VerdictStream::VerdictStream(const Context& context, const std::vector<const Problem*>& problems)
    : context_(context) {
  for (const Problem* problem : problems) {
    std::vector<AxisColumn>& columns = columns_[problem->signature->name];
    if (columns.empty()) {
      for (const Axis& axis : problem->signature->axes) {
        if (axis.kind == Axis::Kind::kVar) columns.push_back({axis.name, axis.name.size()});
      }
    }
    for (AxisColumn& column : columns) {
      const auto axis = problem->axes.find(column.name);
      if (axis == problem->axes.end()) continue;
      column.width = std::max(column.width, std::to_string(axis->second).size());
    }
  }
}

void VerdictStream::print_heading(const Verdict& verdict) {
  const std::string heading =
      fmt::format("{}  {}  on {}  against {}", verdict.solution, verdict.signature,
                  verdict.device.name, verdict.incumbent);
  if (heading == heading_) return;
  const Style& style = context_.out_style;
  context_.out << (heading_.empty() ? "" : "\n") << style.bold(verdict.solution) << "  "
               << verdict.signature << style.dim("  on ") << verdict.device.name << "\n";
  heading_ = heading;
  last_failure_.clear();
  std::string titles = "  ";
  for (const AxisColumn& column : columns_[verdict.signature]) {
    titles += pad(column.name, column.width, Align::kRight) + "  ";
  }
  titles += pad("status", kStatusWidth, Align::kLeft) + "  " +
            pad("cold median", kTimeWidth, Align::kRight) + "  " +
            pad("rate", kRateWidth, Align::kRight) + "  " +
            pad("roofline", kRooflineWidth, Align::kRight) + "  ";
  titles += verdict.incumbent.empty()
                ? "error"
                : pad("error", kErrorWidth, Align::kLeft) + "against " + verdict.incumbent;
  context_.out << style.dim(titles) << "\n";
}

void VerdictStream::print_failure(const Verdict& verdict) {
  const std::string failure = verdict.message + "\n" + verdict.log;
  const std::string indent = "      ";
  if (failure == last_failure_) {
    context_.out << context_.out_style.dim(indent + "as above") << "\n";
    return;
  }
  last_failure_ = failure;
  context_.out << first_lines(verdict.message, kBriefLogLines, indent);
  context_.out << context_.out_style.dim(first_lines(verdict.log, kBriefLogLines, indent + "| "));
}

void VerdictStream::print_pair_note(const Verdict& verdict) {
  if (verdict.paired_note.empty() || verdict.paired_note == last_failure_) return;
  last_failure_ = verdict.paired_note;
  context_.out << context_.out_style.dim(first_lines(verdict.paired_note, kBriefLogLines, "      "));
}

void VerdictStream::print(const Verdict& verdict) {
  if (context_.json()) {
    print_json_line(context_, verdict_to_json(verdict));
    return;
  }
  print_heading(verdict);
  std::string row = "  ";
  for (const AxisColumn& column : columns_[verdict.signature]) {
    const auto value = verdict.axes.find(column.name);
    row +=
        pad(value == verdict.axes.end() ? "" : value->dump(), column.width, Align::kRight) + "  ";
  }
  const std::string status = status_cell(verdict, context_.out_style);
  if (verdict.status != VerdictStatus::kPassed) {
    context_.out << row << status << "\n";
    print_failure(verdict);
    return;
  }
  const ModeSummary* shown = verdict.timing(TimingMode::kCold);
  std::string time = shown == nullptr ? "" : format_interval(shown->latency_ns);
  if (shown != nullptr && shown->throttled) time = context_.out_style.yellow(time);
  row += pad(status, kStatusWidth, Align::kLeft) + "  " + pad(time, kTimeWidth, Align::kRight) +
         "  " + pad(rate_cell(verdict), kRateWidth, Align::kRight) + "  " +
         pad(roofline_cell(verdict), kRooflineWidth, Align::kRight) + "  " +
         (verdict.incumbent.empty() ? error_cell(verdict)
                                    : pad(error_cell(verdict), kErrorWidth, Align::kLeft) +
                                          pair_cell(verdict, context_.out_style));
  context_.out << row << "\n";
  print_pair_note(verdict);
  context_.out << std::flush;
}

}  // namespace fib
