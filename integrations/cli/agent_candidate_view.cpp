#include "integrations/cli/agent_candidate_view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ostream>

#include "agents/feedback/feedback.h"
#include "agents/feedback/source_diff.h"
#include "agents/text.h"
#include "integrations/cli/agent_run_view.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "leaderboard/candidate_json.h"

namespace fib {

namespace {

// Empty: it has none, or the store has lost it.
Result<std::vector<SourceFile>> sources_of(const Store& store, const CandidateRecord& candidate) {
  if (candidate.solution_key.empty()) return std::vector<SourceFile>();
  auto solution = store.solution(candidate.solution_key);
  if (!solution && solution.error().code == ErrorCode::kNotFound) return std::vector<SourceFile>();
  if (!solution) return fail(solution.error());
  return std::move(solution->sources);
}

Result<std::string> difference_to_parent(const RunArchive& archive, const Store& store,
                                         const CandidateRecord& candidate) {
  if (candidate.parents.empty()) return std::string();
  const CandidateRecord parent =
      FIB_TRY(archive.candidate(candidate.run, candidate.parents.front()));
  const std::vector<SourceFile> before = FIB_TRY(sources_of(store, parent));
  const std::vector<SourceFile> after = FIB_TRY(sources_of(store, candidate));
  std::string text;
  if (before.empty() || after.empty()) return text;
  for (const agents::FileDiff& file : agents::diff_sources(before, after)) {
    text += fmt::format("--- #{0}/{2}\n+++ #{1}/{2}\n{3}", parent.number, candidate.number,
                        file.path, file.hunks);
  }
  return text;
}

std::string parents_in_words(const CandidateRecord& candidate) {
  std::string text = fmt::format("#{}", candidate.parents.front());
  for (size_t i = 1; i < candidate.parents.size(); ++i) {
    text += fmt::format("{}#{}", i == 1 ? ", with blocks of " : ", ", candidate.parents[i]);
  }
  return text;
}

std::string behaviour_in_words(const Behaviour& behaviour) {
  std::vector<std::string> parts;
  if (!behaviour.bound.empty()) parts.push_back(behaviour.bound + "-bound");
  if (behaviour.roofline_fraction > 0.0) {
    parts.push_back(format_percent(behaviour.roofline_fraction) + " of the roofline");
  }
  if (behaviour.relative_error > 0.0) {
    parts.push_back(fmt::format("relative error {:.2g}", behaviour.relative_error));
  }
  if (behaviour.registers > 0) parts.push_back(counted(behaviour.registers, "register"));
  const auto bytes = [&](int64_t count, std::string_view what) {
    if (count > 0)
      parts.push_back(format_bytes(static_cast<double>(count)) + " " + std::string(what));
  };
  bytes(behaviour.shared_bytes, "shared");
  bytes(behaviour.spilled_bytes, "spilled");
  bytes(behaviour.code_bytes, "code");
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string cost_in_words(const ProposalCost& cost) {
  std::string text = seconds_cell(cost.seconds) + " waited";
  if (cost.prompt_tokens + cost.answer_tokens > 0) {
    text += fmt::format(", {} + {} tokens", cost.prompt_tokens, cost.answer_tokens);
  }
  return cost.money == 0.0 ? text : text + ", money " + money_cell(cost.money);
}

void print_facts(const Context& context, const CandidateRecord& candidate) {
  Table facts({{""}, {""}});
  const auto fact = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) facts.add({std::string(name), printable(value)});
  };
  fact("proposer", fmt::format("{}, on island {}", candidate.proposer, candidate.island));
  if (!candidate.parents.empty()) fact("made of", parents_in_words(candidate));
  fact("changed", candidate.note);
  fact("solution", candidate.solution_name);
  fact("key", candidate.solution_key);
  fact("came to", std::string(candidate_stage_name(candidate.stage)));
  fact("because", candidate.refusal.message);
  if (candidate.screen_speedup > 0.0) {
    fact("screening", fmt::format("{:.3f}x on the small workload", candidate.screen_speedup));
  }
  if (candidate.was_beaten()) {
    fact("race", agents::speedup_in_words(candidate) + " over the workloads, as far as it went");
  }
  if (candidate.judged_speedup > 0.0) {
    fact("at first", fmt::format("{:.3f}x, before it was confirmed", candidate.judged_speedup));
  }
  fact("behaviour", behaviour_in_words(candidate.behaviour));
  if (!candidate.verdicts.empty()) {
    fact("verdicts", fmt::format("{}  (fib show {})", fmt::join(candidate.verdicts, ", "),
                                 candidate.verdicts.front()));
  }
  fact("proposal", cost_in_words(candidate.cost));
  fact("machine", fmt::format("{:.1f} s building, {:.1f} s on the device", candidate.build_s,
                              candidate.device_s));
  fact("when", candidate.timestamp);
  facts.print(context.out, context.out_style, "  ");
}

void print_difference(const Context& context, std::string_view difference) {
  const Style& style = context.out_style;
  for (const std::string_view line : lines_of(difference)) {
    const std::string text = printable(line);
    context.out << (line.starts_with('+')   ? style.green(text)
                    : line.starts_with('-') ? style.red(text)
                                            : text)
                << "\n";
  }
}

}  // namespace

Result<agents::CandidateDetails> candidate_details(const RunArchive& archive, const Store& store,
                                                   const CandidateRecord& candidate) {
  agents::CandidateDetails details{.number = candidate.number};
  if (candidate.feedback.is_object()) {
    details.feedback = agents::feedback_in_words(candidate.feedback);
  }
  details.difference = FIB_TRY(difference_to_parent(archive, store, candidate));
  details.exchanges = FIB_TRY(archive.exchanges(candidate.run, candidate.number));
  return details;
}

void print_candidate(const Context& context, const CandidateRecord& candidate,
                     const agents::CandidateDetails& details) {
  const Style& style = context.out_style;
  context.out << style.bold(fmt::format("#{} of run {}", candidate.number, candidate.run)) << "  "
              << outcome_cell(candidate, style) << "\n";
  print_facts(context, candidate);
  if (!details.feedback.empty()) context.out << "\n" << printable(details.feedback);
  if (!details.difference.empty()) {
    context.out << "\n" << style.bold("changed") << "\n";
    print_difference(context, details.difference);
  }
  for (const Exchange& exchange : details.exchanges) {
    context.out << "\n"
                << style.bold(printable(exchange.role)) << "\n"
                << printable(exchange.content);
    if (!exchange.content.ends_with('\n')) context.out << "\n";
  }
}

Json candidate_details_to_json(const CandidateRecord& candidate,
                               const agents::CandidateDetails& details) {
  Json document = candidate_to_json(candidate);
  document["difference"] = details.difference;
  Json exchanges = Json::array();
  for (const Exchange& exchange : details.exchanges) {
    exchanges.push_back({{"role", exchange.role}, {"content", exchange.content}});
  }
  document["exchanges"] = exchanges;
  return document;
}

}  // namespace fib
