#include "agents/report/run_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "agents/report/lineage_svg.h"
#include "agents/report/markup.h"
#include "agents/text.h"

namespace fib::agents {

namespace {

// Of what was said to a model or by it; the store has all of it.
constexpr TextLimit kExchangeLimit = {.lines = 400, .bytes = 40000};

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;max-width:1000px;
margin:2rem auto;padding:0 1rem;color:#24292f;background:#fff}
svg{max-width:100%;height:auto}
h1{font-size:1.5rem;margin-bottom:.2rem}
h2{font-size:1.15rem;margin-top:2.2rem}
.quiet{color:#57606a}
dl{display:flex;flex-wrap:wrap;gap:.6rem 2.2rem;margin:1.2rem 0}
dt{font-size:.8rem;color:#57606a}
dd{margin:0;font-size:1.15rem;font-weight:600}
.table{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid #d8dee4;
vertical-align:top}
th{font-weight:600;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.dot{display:inline-block;width:.65em;height:.65em;border-radius:50%;margin-right:.4em}
details{margin:.5rem 0;border:1px solid #d8dee4;border-radius:6px;padding:.4rem .8rem}
summary{cursor:pointer}
pre{overflow-x:auto;font-size:.82rem;line-height:1.4;padding:.7rem;border-radius:6px;
background:#f6f8fa;white-space:pre-wrap;overflow-wrap:anywhere}
.add{color:#1a7f37}.del{color:#cf222e}
@media (prefers-color-scheme: dark){
body{color:#e6edf3;background:#0d1117}
.quiet,dt{color:#9198a1}
th,td,details{border-color:#2a313a}
pre{background:#161b22}
a{color:#6cb0ff}
.add{color:#56d364}.del{color:#ff7b72}
}
)css";

std::string duration_in_words(double seconds) {
  if (seconds < 120.0) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200.0) return fmt::format("{:.0f} min", seconds / 60.0);
  return fmt::format("{:.1f} h", seconds / 3600.0);
}

class Page {
 public:
  Page(const RunReport& report, const std::vector<CandidateDetails>& details)
      : report_(report), details_(details) {}

  std::string write() {
    const std::string title =
        escape_markup(fmt::format("{}, run {}", report_.run.signature, report_.run.id));
    add("<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'/>\n"
        "<meta name='viewport' content='width=device-width,initial-scale=1'/>\n"
        "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
        title, kStyle, title);
    heading();
    html_ += lineage_svg(report_);
    proposers();
    reasons();
    best_candidates();
    cells();
    for (const CandidateDetails& details : details_) candidate(details);
    all_candidates();
    html_ += "</body>\n</html>\n";
    return std::move(html_);
  }

 private:
  template <class... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(html_), format, std::forward<Arguments>(arguments)...);
  }

  void fact(std::string_view name, std::string_view value) {
    add("<div><dt>{}</dt><dd>{}</dd></div>\n", name, escape_markup(value));
  }

  void heading() {
    const RunRecord& run = report_.run;
    add("<p class='quiet'>{} on {}; {}{}; begun {}, last written {}</p>\n<dl>\n",
        escape_markup(run.target), escape_markup(run.hardware), run_state_name(run.state),
        run.end_reason.empty() ? "" : ": " + escape_markup(run.end_reason),
        escape_markup(run.started), escape_markup(run.updated));
    if (const CandidateRecord* best = report_.best()) {
      fact(best->is_confirmed ? "best, confirmed" : "best, not confirmed",
           fmt::format("#{} {}", best->number, speedup_in_words(*best)));
    }
    fact("candidates", std::to_string(report_.tally.candidates()));
    fact("candidates an hour", fmt::format("{:.0f}", report_.candidates_per_hour));
    fact("time at work", duration_in_words(run.active_s));
    if (report_.tally.spent().tokens > 0) {
      fact("tokens", std::to_string(report_.tally.spent().tokens));
      fact("money", fmt::format("{:.2f}", report_.tally.spent().money));
    }
    if (const ControlSpread controls = report_.tally.controls(); controls.pairs > 0) {
      fact("copies timed twice differ by",
           fmt::format("{:.1f} % (of {})", 100.0 * controls.rms, controls.pairs));
    }
    html_ += "</dl>\n";
  }

  void table_head(std::string_view heading, std::initializer_list<std::string_view> columns) {
    add("<h2>{}</h2>\n<div class='table'><table>\n<tr>", heading);
    for (const std::string_view column : columns) {
      const bool is_number = column.starts_with('#');
      add("<th{}>{}</th>", is_number ? " class='n'" : "", column.substr(is_number ? 1 : 0));
    }
    html_ += "</tr>\n";
  }
  void table_end() { html_ += "</table></div>\n"; }

  static std::string proposer_cell(std::string_view name) {
    return fmt::format("<td><span class='dot' style='background:{}'></span>{}</td>",
                       proposer_colour(name), escape_markup(name));
  }
  static std::string number_cell(auto value) { return fmt::format("<td class='n'>{}</td>", value); }

  // The number, leading to its details where the page has some.
  std::string link(int64_t number) const {
    const bool has_details =
        std::ranges::find(details_, number, &CandidateDetails::number) != details_.end();
    return has_details ? fmt::format("<a href='#c{0}'>#{0}</a>", number)
                       : fmt::format("#{}", number);
  }

  void proposers() {
    table_head("Proposers", {"proposer", "#asked", "#refused", "#duplicate", "#failed", "#slow",
                             "#measured", "#new bests", "#waited, s", "#tokens", "#money"});
    for (const auto& [name, tally] : report_.tally.proposers()) {
      const auto wins = report_.wins.find(name);
      add("<tr>{}{}{}{}{}{}{}{}{}{}{}</tr>\n", proposer_cell(name), number_cell(tally.asked),
          number_cell(tally.refused), number_cell(tally.duplicates), number_cell(tally.failed),
          number_cell(tally.slow), number_cell(tally.measured),
          number_cell(wins == report_.wins.end() ? 0 : wins->second),
          number_cell(fmt::format("{:.1f}", tally.cost.seconds)),
          number_cell(tally.cost.prompt_tokens + tally.cost.answer_tokens),
          number_cell(fmt::format("{:.2f}", tally.cost.money)));
    }
    table_end();
  }

  void reasons() {
    if (report_.reasons.empty()) return;
    table_head("What came to nothing, and why", {"fate", "reason", "#candidates", "#such as", ""});
    for (const auto& [fate, reasons] : report_.reasons) {
      for (const auto& [reason, count] : reasons) {
        const int64_t example = report_.examples.at(fate).at(reason);
        add("<tr><td>{}</td><td>{}</td>{}{}<td>{}</td></tr>\n", candidate_fate_name(fate),
            escape_markup(reason), number_cell(count), number_cell(link(example)),
            escape_markup(cause_in_words(*report_.find(example))));
      }
    }
    table_end();
  }

  void best_candidates() {
    constexpr size_t kShown = 20;
    if (report_.ranking.empty()) return;
    table_head("Fastest", {"#candidate", "#speedup", "", "proposer", "#of", "what was changed"});
    for (size_t i = 0; i < std::min(kShown, report_.ranking.size()); ++i) {
      row(*report_.find(report_.ranking[i]));
    }
    table_end();
  }

  void row(const CandidateRecord& candidate) {
    const std::string outcome = is_ranked(candidate)
                                    ? speedup_in_words(candidate)
                                    : fmt::format("{}: {}", candidate_fate_name(candidate.fate),
                                                  escape_markup(candidate.refusal.reason));
    std::string marks = candidate.is_confirmed ? "confirmed" : "";
    if (report_.improvements.contains(candidate.number)) {
      marks += marks.empty() ? "new best" : ", new best";
    }
    add("<tr>{}{}<td>{}</td>{}{}<td>{}</td></tr>\n", number_cell(link(candidate.number)),
        number_cell(outcome), marks, proposer_cell(candidate.proposer),
        number_cell(candidate.parents.empty() ? "" : link(candidate.parents.front())),
        escape_markup(candidate.note));
  }

  void cells() {
    if (report_.cells.empty()) return;
    table_head("Kinds of kernels found", {"kind", "#fastest", "#speedup", "#candidates"});
    for (const CellReport& cell : report_.cells) {
      const CandidateRecord& elite = *report_.find(cell.elite);
      add("<tr><td>{}</td>{}{}{}</tr>\n", escape_markup(cell_in_words(cell.cell, elite.behaviour)),
          number_cell(link(cell.elite)), number_cell(speedup_in_words(elite)),
          number_cell(cell.candidates));
    }
    table_end();
  }

  void difference(std::string_view text) {
    html_ += "<h3>Changed</h3>\n<pre>";
    for (const std::string_view line : lines_of(text)) {
      const std::string_view kind = line.starts_with('+')   ? "add"
                                    : line.starts_with('-') ? "del"
                                                            : "";
      if (kind.empty()) {
        add("{}\n", escape_markup(line));
      } else {
        add("<span class='{}'>{}</span>\n", kind, escape_markup(line));
      }
    }
    html_ += "</pre>\n";
  }

  void candidate(const CandidateDetails& details) {
    const CandidateRecord* found = report_.find(details.number);
    if (found == nullptr) return;
    if (!has_heading_) html_ += "<h2>Candidates that matter</h2>\n";
    has_heading_ = true;
    const std::vector<int64_t> line = report_.line_of(found->number);
    std::string descent;
    for (const int64_t number : line) descent += (descent.empty() ? "" : " → ") + link(number);
    add("<details id='c{}'><summary><b>#{}</b> {} {}</summary>\n<p>{}</p>\n<p class='quiet'>"
        "Descent: {}. Solution {}.</p>\n",
        found->number, found->number, escape_markup(found->proposer),
        is_ranked(*found) ? speedup_in_words(*found)
                          : std::string(candidate_fate_name(found->fate)),
        escape_markup(found->note), descent, escape_markup(found->solution_name));
    if (!details.feedback.empty()) {
      add("<h3>Feedback</h3>\n<pre>{}</pre>\n", escape_markup(details.feedback));
    }
    if (!details.difference.empty()) difference(details.difference);
    for (const Exchange& exchange : details.exchanges) {
      add("<details><summary>{}</summary><pre>{}</pre></details>\n", escape_markup(exchange.role),
          escape_markup(shortened(exchange.content, kExchangeLimit)));
    }
    html_ += "</details>\n";
  }

  void all_candidates() {
    html_ +=
        "<h2>All candidates</h2>\n<details><summary>In the order in which they were decided "
        "on</summary>\n<div class='table'><table>\n<tr><th class='n'>candidate</th>"
        "<th class='n'>outcome</th><th></th><th>proposer</th><th class='n'>of</th>"
        "<th>what was changed</th></tr>\n";
    for (const CandidateRecord& candidate : report_.candidates) row(candidate);
    html_ += "</table></div></details>\n";
  }

  const RunReport& report_;
  const std::vector<CandidateDetails>& details_;
  std::string html_;
  bool has_heading_ = false;
};

}  // namespace

std::string run_page(const RunReport& report, const std::vector<CandidateDetails>& details) {
  return Page(report, details).write();
}

}  // namespace fib::agents
