#include "agents/report/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "agents/search/grid.h"
#include "agents/text.h"
#include "leaderboard/candidate_json.h"

namespace fib::agents {

namespace {

Elite elite_of(const CandidateRecord& candidate) {
  return {.number = candidate.number,
          .speedup_low = candidate.speedup_low,
          .cell = cell_of(candidate.behaviour)};
}

void rank(RunReport& report) {
  std::vector<Elite> ranked;
  for (const CandidateRecord& candidate : report.candidates) {
    if (!is_ranked(candidate)) continue;
    const Elite elite = elite_of(candidate);
    const bool is_best = ranked.empty() || is_better(elite, ranked.front());
    if (is_best && candidate.proposer != kSeedProposer) {
      report.improvements.insert(candidate.number);
      ++report.wins[candidate.proposer];
    }
    // The best stays in front; the others are put in order at the end.
    ranked.push_back(elite);
    if (is_best) std::swap(ranked.front(), ranked.back());
  }
  std::ranges::sort(ranked, is_better);
  std::map<Cell, size_t> positions;
  for (const Elite& elite : ranked) {
    report.ranking.push_back(elite.number);
    const auto [position, is_new] = positions.try_emplace(elite.cell, report.cells.size());
    if (is_new) report.cells.push_back({.cell = elite.cell, .elite = elite.number});
    ++report.cells[position->second].candidates;
  }
}

void sort_reasons(RunReport& report) {
  for (const CandidateRecord& candidate : report.candidates) {
    if (candidate.fate == CandidateFate::kMeasured) continue;
    report.examples[candidate.fate][candidate.refusal.reason] = candidate.number;
  }
  for (const auto& [fate, reasons] : report.tally.reasons()) {
    auto& sorted = report.reasons[fate];
    sorted.assign(reasons.begin(), reasons.end());
    std::ranges::stable_sort(sorted, std::ranges::greater(),
                             [](const auto& it) { return it.second; });
  }
}

Json proposers_to_json(const RunReport& report) {
  Json proposers = Json::object();
  for (const auto& [name, tally] : report.tally.proposers()) {
    const auto wins = report.wins.find(name);
    Json& proposer = proposers[name] = tally.counts_to_json();
    proposer.update({{"wins", wins == report.wins.end() ? 0 : wins->second},
                     {"wait_s", tally.cost.seconds},
                     {"prompt_tokens", tally.cost.prompt_tokens},
                     {"answer_tokens", tally.cost.answer_tokens},
                     {"money", tally.cost.money}});
  }
  return proposers;
}

Json reasons_to_json(const RunReport& report) {
  Json fates = Json::object();
  for (const auto& [fate, reasons] : report.tally.reasons()) {
    fates[std::string(candidate_fate_name(fate))] = reasons;
  }
  return fates;
}

Json examples_to_json(const RunReport& report) {
  Json fates = Json::object();
  for (const auto& [fate, examples] : report.examples) {
    Json& of_fate = fates[std::string(candidate_fate_name(fate))];
    for (const auto& [reason, number] : examples) {
      of_fate[reason] = {{"candidate", number}, {"message", report.find(number)->refusal.message}};
    }
  }
  return fates;
}

Json cells_to_json(const RunReport& report) {
  Json cells = Json::array();
  for (const CellReport& cell : report.cells) {
    cells.push_back({{"bound", cell.cell.bound},
                     {"error_step", cell.cell.error_step},
                     {"resource_step", cell.cell.resource_step},
                     {"elite", cell.elite},
                     {"candidates", cell.candidates}});
  }
  return cells;
}

}  // namespace

bool is_ranked(const CandidateRecord& candidate) {
  return candidate.fate == CandidateFate::kMeasured && std::isfinite(candidate.speedup) &&
         candidate.speedup > 0.0 && std::isfinite(candidate.speedup_low);
}

const CandidateRecord* RunReport::find(int64_t number) const {
  const auto found =
      std::ranges::lower_bound(candidates, number, std::less(), &CandidateRecord::number);
  return found != candidates.end() && found->number == number ? &*found : nullptr;
}

const CandidateRecord* RunReport::best() const {
  return ranking.empty() ? nullptr : find(ranking.front());
}

std::vector<int64_t> RunReport::line_of(int64_t number) const {
  std::vector<int64_t> line;
  for (const CandidateRecord* at = find(number); at != nullptr;
       at = at->parents.empty() ? nullptr : find(at->parents.front())) {
    line.push_back(at->number);
  }
  std::ranges::reverse(line);
  return line;
}

RunReport make_report(RunRecord run, std::vector<CandidateRecord> candidates) {
  RunReport report{.run = std::move(run), .candidates = std::move(candidates)};
  for (const CandidateRecord& candidate : report.candidates) report.tally.add(candidate);
  rank(report);
  sort_reasons(report);
  const int64_t asked = report.tally.candidates() - report.tally.seeds();
  if (report.run.active_s > 0.0) {
    report.candidates_per_hour = 3600.0 * static_cast<double>(asked) / report.run.active_s;
  }
  return report;
}

Json report_to_json(const RunReport& report, size_t limit) {
  const RunRecord& run = report.run;
  const CandidateRecord* best = report.best();
  Json top = Json::array();
  for (size_t i = 0; i < std::min(limit, report.ranking.size()); ++i) {
    top.push_back(candidate_to_json(*report.find(report.ranking[i])));
  }
  return {{"run", run.id},
          {"signature", run.signature},
          {"target", run.target},
          {"hardware", run.hardware},
          {"state", run_state_name(run.state)},
          {"end_reason", run.end_reason},
          {"started", run.started},
          {"updated", run.updated},
          {"active_s", run.active_s},
          {"options", run.options},
          {"candidates", report.tally.candidates()},
          {"seeds", report.tally.seeds()},
          {"candidates_per_hour", report.candidates_per_hour},
          {"money", report.tally.spent().money},
          {"tokens", report.tally.spent().tokens},
          {"best", best == nullptr ? Json() : Json(best->number)},
          {"improvements", report.improvements},
          {"proposers", proposers_to_json(report)},
          {"reasons", reasons_to_json(report)},
          {"examples", examples_to_json(report)},
          {"controls", report.tally.controls().to_json()},
          {"cells", cells_to_json(report)},
          {"top", top}};
}

std::string cause_in_words(const CandidateRecord& candidate) {
  constexpr size_t kMostBytes = 160;
  std::string cause = candidate.refusal.message;
  std::ranges::replace(cause, '\n', ' ');
  while (cause.ends_with(' ')) cause.pop_back();
  if (cause.size() <= kMostBytes) return cause;
  size_t end = kMostBytes;
  while (end > 0 && (static_cast<unsigned char>(cause[end]) & 0xc0) == 0x80) --end;  // UTF-8
  return cause.substr(0, end) + " ...";
}

std::string cell_in_words(const Cell& cell, const Behaviour& elite) {
  std::string words =
      fmt::format("{}, error 1e{}", cell.bound.empty() ? "bound unknown" : cell.bound + "-bound",
                  cell.error_step);
  if (elite.registers > 0) words += fmt::format(", {} registers", elite.registers);
  if (elite.shared_bytes > 0) {
    words += fmt::format(", {} shared", bytes_in_words(static_cast<double>(elite.shared_bytes)));
  }
  if (elite.registers > 0 || elite.code_bytes == 0) return words;
  return words + fmt::format(", {} of code", bytes_in_words(static_cast<double>(elite.code_bytes)));
}

std::string speedup_in_words(const CandidateRecord& candidate) {
  return fmt::format("{:.3f}x {:.3f}-{:.3f}", candidate.speedup, candidate.speedup_low,
                     candidate.speedup_high);
}

}  // namespace fib::agents
