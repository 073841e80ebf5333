#include "integrations/cli/agent_progress.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ostream>

#include "integrations/cli/agent_run_view.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "leaderboard/candidate_json.h"

namespace fib {

namespace {

constexpr std::chrono::milliseconds kRefresh{200};
constexpr std::chrono::seconds kPipeInterval{60};
constexpr size_t kRefusalLines = 8;
constexpr double kStartMatters = 1.1;  // where a search is so much faster without it

std::string rate_in_words(double candidates_per_hour) {
  return candidates_per_hour >= 100.0 ? fmt::format("{:.0f}/h", candidates_per_hour)
                                      : fmt::format("{:.1f}/h", candidates_per_hour);
}

// "1.2", "350", "12.3k", "2M".
std::string short_number(double number) {
  if (number < 1e4) return fmt::format("{:.4g}", number);
  return number < 1e6 ? fmt::format("{:.4g}k", number / 1e3)
                      : fmt::format("{:.4g}M", number / 1e6);
}

// "  tokens 12.3k of 500k"; empty where nothing was spent that nothing bounds.
std::string spent_in_words(std::string_view what, double spent, double budget) {
  if (spent == 0.0 && budget == 0.0) return {};
  const std::string bound = budget > 0.0 ? " of " + short_number(budget) : "";
  return fmt::format("  {} {}{}", what, short_number(spent), bound);
}

// "unchanged 20, slow 12", most frequent first.
std::string rejected_in_words(const std::map<std::string, int64_t>& rejected, size_t most) {
  std::vector<std::pair<std::string, int64_t>> sorted(rejected.begin(), rejected.end());
  std::ranges::stable_sort(sorted, std::greater(), &std::pair<std::string, int64_t>::second);
  std::vector<std::string> parts;
  for (const auto& [reason, count] : sorted) {
    if (parts.size() == most) break;
    parts.push_back(fmt::format("{} {}", printable(reason), count));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

AgentProgress::AgentProgress(const Context& context, const agents::Amounts& budget)
    : context_(context),
      budget_(budget),
      line_(context.err, context.interactivity),
      last_printed_(Clock::now()) {}

void AgentProgress::on_begin(const agents::RunProgress& now) {
  if (!now.best) return;
  best_low_ = now.best->speedup_low;
  if (!context_.json()) print_best(*now.best, context_.out_style.dim("so far "));
}

void AgentProgress::on_candidate(const CandidateRecord& candidate) {
  if (context_.json()) {
    Json json = candidate_to_json(candidate);
    json.erase("feedback");  // `fib agent show RUN NUMBER --json` has it
    print_json_line(context_, json);
    return;
  }
  if (candidate.refusal.reason == "crash" && candidate.fate == CandidateFate::kRefused) {
    print_first_crash(candidate);
  }
  if (candidate.fate != CandidateFate::kMeasured) return;
  if (candidate.speedup_low <= best_low_ && !candidate.is_confirmed) return;
  best_low_ = std::max(best_low_, candidate.speedup_low);
  line_.clear();
  print_best(candidate, candidate.is_confirmed ? context_.out_style.green("confirmed ") : "");
}

// Most likely the others will be like it, and nobody wants to learn so after a night.
void AgentProgress::print_first_crash(const CandidateRecord& candidate) {
  if (!crashed_.insert(candidate.proposer).second) return;
  line_.clear();
  context_.err << context_.err_style.yellow(
                      fmt::format("#{}: {} crashed", candidate.number, candidate.proposer))
               << "\n"
               << first_lines(printable(candidate.refusal.message), kRefusalLines, "  ");
}

void AgentProgress::print_best(const CandidateRecord& candidate, std::string_view state) {
  const Style& style = context_.out_style;
  context_.out << fmt::format(
      "{:>5} {} {}{}\n", fmt::format("#{}", candidate.number),
      style.bold(format_speedup(candidate.speedup, candidate.speedup_low, candidate.speedup_high)),
      state,
      style.dim(candidate.parents.empty()
                    ? candidate.solution_name
                    : fmt::format("{} of #{}: {}", candidate.proposer, candidate.parents.front(),
                                  printable(candidate.note))));
  context_.out << std::flush;
}

std::string AgentProgress::line_of(const agents::RunProgress& now) const {
  std::string text = fmt::format("[{}", now.spent.candidates);
  if (budget_.candidates > 0) text += fmt::format("/{}", budget_.candidates);
  text += "]";
  if (now.best) text += fmt::format(" best {}", format_factor(now.best->speedup));
  text += fmt::format("  {}", rate_in_words(now.candidates_per_hour));
  text += spent_in_words("tokens", static_cast<double>(now.spent.tokens),
                         static_cast<double>(budget_.tokens));
  text += spent_in_words("money", now.spent.money, budget_.money);
  if (budget_.seconds > 0.0) {
    text +=
        fmt::format("  {} of {}", seconds_cell(now.spent.seconds), seconds_cell(budget_.seconds));
  }
  text += now.confirming
              ? fmt::format("  confirming #{}", *now.confirming)
              : fmt::format("  in flight {}+{}+{}", now.proposing, now.building, now.on_device);
  const std::string rejected = rejected_in_words(now.tally.rejected(), 3);
  if (!rejected.empty()) text += "  " + rejected;
  return text;
}

void AgentProgress::on_progress(const agents::RunProgress& now) {
  const Clock::time_point time = Clock::now();
  if (context_.interactivity == Interactivity::kTerminal) {
    if (time - last_shown_ < kRefresh && !now.confirming) return;
    last_shown_ = time;
    line_.show(line_of(now));
  } else if (!context_.json() && (time - last_printed_ >= kPipeInterval || now.confirming)) {
    last_printed_ = time;
    context_.out << line_of(now) << std::endl;
  }
}

// Who is no faster than what the search began with is no find, however well it was confirmed.
void AgentProgress::print_outcome(const agents::RunSummary& summary) const {
  if (!summary.best) return;
  const CandidateRecord& best = *summary.best;
  const Style& style = context_.out_style;
  std::ostream& out = context_.out;
  if (!summary.is_gain) out << "best   nothing was found to be faster than the seeds; ahead is\n";
  out << fmt::format("{}{} {}", summary.is_gain ? "best   " : "       ",
                     style.bold(best.solution_name),
                     format_speedup(best.speedup, best.speedup_low, best.speedup_high));
  if (best.is_confirmed) {
    out << fmt::format(", {}; {} at first, {:+.1f} %",
                       summary.is_gain ? style.green("confirmed") : "confirmed",
                       format_factor(best.judged_speedup),
                       100.0 * (best.speedup / best.judged_speedup - 1.0));
  }
  out << "\n";
}

void AgentProgress::finish(const agents::RunSummary& summary) {
  line_.clear();
  if (context_.json()) {
    print_json_line(context_, Json{{"summary", summary.to_json()}});
    return;
  }
  std::ostream& out = context_.out;
  const Style& style = context_.out_style;
  const agents::Tally& tally = summary.tally;
  out << fmt::format("\nrun {}: {}\n", summary.run, summary.end_reason);
  print_outcome(summary);
  std::string rate = rate_in_words(summary.candidates_per_hour);
  if (summary.steady_candidates_per_hour > kStartMatters * summary.candidates_per_hour) {
    rate += fmt::format(" ({} after {} of getting started)",
                        rate_in_words(summary.steady_candidates_per_hour),
                        seconds_cell(summary.startup_s));
  }
  out << fmt::format(
      "tried  {} in {}, {}; devices idle {}\n", counted(summary.spent.candidates, "candidate"),
      seconds_cell(summary.spent.seconds), rate, format_percent(summary.device_idle_share));
  out << fmt::format("fates  {} measured", tally.measured());
  const std::string rejected = rejected_in_words(tally.rejected(), 12);
  out << (rejected.empty() ? "" : "; ") << rejected << "\n";
  if (const agents::ControlSpread controls = tally.controls(); controls.pairs > 0) {
    out << fmt::format(
        "noise  {}: the same program twice differs by {:.2f} % (rms), {:.2f} at most\n",
        counted(controls.pairs, "control"), 100.0 * controls.rms, 100.0 * controls.worst);
  }
  if (summary.spent.tokens > 0) {
    out << fmt::format("spent  {}{}\n", counted(summary.spent.tokens, "token"),
                       summary.spent.money > 0.0
                           ? fmt::format(", {} of money", money_cell(summary.spent.money))
                           : "");
  }
  for (const std::string& name : summary.set_aside) {
    const Refusal& last = tally.proposers().at(name).last_refusal;
    out << style.yellow(fmt::format("{} was set aside after {} refusals in a row, the last: {}",
                                    name, agents::kMostRefusals, printable(last.reason)))
        << "\n"
        << first_lines(printable(last.message), kRefusalLines, "  ");
  }
  if (summary.state == RunState::kStopped) {
    out << style.yellow(fmt::format("fib agent run --resume {} goes on from here", summary.run))
        << "\n";
  }
  if (summary.end_reason.starts_with("budget: ")) {
    out << style.dim(
               fmt::format("fib agent run --resume {} with a larger --budget goes on", summary.run))
        << "\n";
  }
  out << style.dim(fmt::format("fib agent show {} tells more", summary.run)) << "\n";
}

}  // namespace fib
