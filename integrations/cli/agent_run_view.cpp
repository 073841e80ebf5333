#include "integrations/cli/agent_run_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <utility>

#include "integrations/cli/text.h"
#include "signatures/base/utf8.h"

namespace fib {

namespace {

void print_heading(const Context& context, const agents::RunReport& report) {
  const Style& style = context.out_style;
  const RunRecord& run = report.run;
  context.out << style.bold(fmt::format("run {}  {}", run.id, run.signature)) << "  " << run.target
              << "  " << run.hardware << "  " << state_cell(run, style);
  if (!run.end_reason.empty()) context.out << ": " << printable(run.end_reason);
  context.out << "\n";

  Table facts({{""}, {""}});
  facts.add({"begun", fmt::format("{}, last written {}", run.started, run.updated)});
  facts.add(
      {"candidates", fmt::format("{}, {} of them seeds; {:.0f} an hour", report.tally.candidates(),
                                 report.tally.seeds(), report.candidates_per_hour)});
  facts.add({"at work", seconds_cell(run.active_s)});
  if (report.tally.spent().tokens > 0) {
    facts.add({"tokens", fmt::format("{}, money {:.3f}", report.tally.spent().tokens,
                                     report.tally.spent().money)});
  }
  if (const auto controls = report.tally.controls(); controls.pairs > 0) {
    facts.add({"controls", fmt::format("{} timed twice differ by {:.1f} % (RMS), {:.1f} % at worst",
                                       counted(controls.pairs, "program"), 100.0 * controls.rms,
                                       100.0 * controls.worst)});
  }
  if (const CandidateRecord* best = report.best()) {
    facts.add({"best", fmt::format("#{} {}  {}", best->number, outcome_cell(*best, style),
                                   printable(best->solution_name))});
  } else {
    facts.add({"best", style.dim("none is right yet")});
  }
  facts.print(context.out, style, "  ");
}

void print_proposers(const Context& context, const agents::RunReport& report) {
  Table table({{"proposer"},
               {"asked", Align::kRight},
               {"refused", Align::kRight},
               {"duplicate", Align::kRight},
               {"failed", Align::kRight},
               {"slow", Align::kRight},
               {"measured", Align::kRight},
               {"new bests", Align::kRight},
               {"waited", Align::kRight},
               {"tokens", Align::kRight},
               {"money", Align::kRight}});
  for (const auto& [name, tally] : report.tally.proposers()) {
    const auto wins = report.wins.find(name);
    const int64_t tokens = tally.cost.prompt_tokens + tally.cost.answer_tokens;
    table.add({printable(name), std::to_string(tally.asked), std::to_string(tally.refused),
               std::to_string(tally.duplicates), std::to_string(tally.failed),
               std::to_string(tally.slow), std::to_string(tally.measured),
               std::to_string(wins == report.wins.end() ? 0 : wins->second),
               tally.cost.seconds == 0.0 ? "" : seconds_cell(tally.cost.seconds),
               tokens == 0 ? "" : std::to_string(tokens), money_cell(tally.cost.money)});
  }
  table.print(context.out, context.out_style, "  ");
}

void print_reasons(const Context& context, const agents::RunReport& report) {
  Table table({{"came to nothing"}, {"", Align::kRight}, {"why"}, {"such as"}});
  for (const auto& [fate, reasons] : report.reasons) {
    std::string name(candidate_fate_name(fate));
    for (const auto& [reason, count] : reasons) {
      const CandidateRecord& example = *report.find(report.examples.at(fate).at(reason));
      table.add(
          {std::exchange(name, ""), std::to_string(count), printable(reason),
           fmt::format("#{}: {}", example.number, printable(agents::cause_in_words(example)))});
    }
  }
  table.print(context.out, context.out_style, "  ");
}

void print_cells(const Context& context, const agents::RunReport& report, size_t limit) {
  Table table(
      {{"kind of kernel"}, {"fastest", Align::kRight}, {"speedup"}, {"candidates", Align::kRight}});
  const size_t shown = std::min(limit, report.cells.size());
  for (size_t i = 0; i < shown; ++i) {
    const agents::CellReport& cell = report.cells[i];
    const CandidateRecord& elite = *report.find(cell.elite);
    table.add({printable(agents::cell_in_words(cell.cell, elite.behaviour)),
               fmt::format("#{}", cell.elite), agents::speedup_in_words(elite),
               std::to_string(cell.candidates)});
  }
  table.print(context.out, context.out_style, "  ");
  if (shown < report.cells.size()) {
    context.out << "  ... "
                << counted(static_cast<int64_t>(report.cells.size() - shown), "more kind") << "\n";
  }
}

void print_fastest(const Context& context, const agents::RunReport& report, size_t limit) {
  const Style& style = context.out_style;
  Table table(
      {{"candidate", Align::kRight}, {"speedup"}, {"proposer"}, {"of"}, {"what was changed"}});
  for (size_t i = 0; i < std::min(limit, report.ranking.size()); ++i) {
    const CandidateRecord& candidate = *report.find(report.ranking[i]);
    table.add({fmt::format("#{}", candidate.number), outcome_cell(candidate, style),
               printable(candidate.proposer),
               candidate.parents.empty() ? "" : fmt::format("#{}", candidate.parents.front()),
               printable(candidate.note)});
  }
  table.print(context.out, style, "  ");
}

}  // namespace

std::string printable(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const auto byte = static_cast<unsigned char>(text.front());
    // C1 controls are two bytes of UTF-8, of which terminals obey some too.
    const bool is_c1 = length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    const bool is_control =
        length == 1 && (byte < 0x20 || byte == 0x7f) && byte != '\n' && byte != '\t';
    if (length == 0 || is_c1 || is_control) {
      safe += kReplacementCharacter;
    } else {
      safe += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return safe;
}

std::string state_cell(const RunRecord& run, const Style& style) {
  const std::string_view name = run_state_name(run.state);
  switch (run.state) {
    case RunState::kRunning: return style.green(name);
    case RunState::kStopped: return style.yellow(name);
    case RunState::kFinished: return std::string(name);
  }
  return {};
}

std::string seconds_cell(double seconds) {
  if (seconds < 120.0) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200.0) return fmt::format("{:.1f} min", seconds / 60.0);
  return fmt::format("{:.1f} h", seconds / 3600.0);
}

std::string money_cell(double money) {
  return money == 0.0 ? std::string() : fmt::format("{:.3f}", money);
}

std::string outcome_cell(const CandidateRecord& candidate, const Style& style) {
  if (agents::is_ranked(candidate)) {
    return agents::speedup_in_words(candidate) +
           (candidate.is_confirmed ? ", " + style.green("confirmed") : "");
  }
  std::string text(candidate_fate_name(candidate.fate));
  if (candidate.duplicate_of) return text + fmt::format(" of #{}", *candidate.duplicate_of);
  if (!candidate.refusal.reason.empty()) text += ": " + printable(candidate.refusal.reason);
  return candidate.fate == CandidateFate::kFailed ? style.red(text) : text;
}

void print_report(const Context& context, const agents::RunReport& report, size_t limit) {
  print_heading(context, report);
  if (report.candidates.empty()) return;
  context.out << "\n";
  print_proposers(context, report);
  if (!report.reasons.empty()) {
    context.out << "\n";
    print_reasons(context, report);
  }
  if (report.ranking.empty()) return;
  context.out << "\n";
  print_cells(context, report, limit);
  context.out << "\n";
  print_fastest(context, report, limit);
}

}  // namespace fib
