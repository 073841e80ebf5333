// fib agent list, show, tree: what searches found.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <set>

#include "agents/report/lineage_svg.h"
#include "agents/report/run_page.h"
#include "integrations/cli/agent_candidate_view.h"
#include "integrations/cli/agent_commands.h"
#include "integrations/cli/agent_numbers.h"
#include "integrations/cli/agent_run_view.h"
#include "integrations/cli/agent_tree.h"
#include "leaderboard/store.h"
#include "signatures/base/file.h"

namespace fib {

namespace {

struct RecordsArgs {
  int64_t run = 0;
  std::optional<int64_t> candidate, of;
  std::filesystem::path html, svg;
  size_t limit = 10;
  bool is_each = false;
};

Result<std::unique_ptr<RunArchive>> open_archive(const Context& context) {
  if (!std::filesystem::exists(context.store_file)) {  // looking makes no file
    return fail(ErrorCode::kNotFound, "there is no store", context.store_file.string(),
                "'fib agent run' makes one");
  }
  return RunArchive::open(context.store_file);
}

Json run_to_json(const RunRecord& run, const RunTotals& totals) {
  return {{"run", run.id},
          {"signature", run.signature},
          {"target", run.target},
          {"hardware", run.hardware},
          {"state", run_state_name(run.state)},
          {"end_reason", run.end_reason},
          {"started", run.started},
          {"updated", run.updated},
          {"active_s", run.active_s},
          {"candidates", totals.candidates},
          {"measured", totals.measured},
          {"best", totals.best ? Json(*totals.best) : Json()},
          {"speedup", totals.speedup},
          {"speedup_low", totals.speedup_low},
          {"speedup_high", totals.speedup_high},
          {"money", totals.money},
          {"device_s", totals.device_s}};
}

Result<int> list(const Context& context, const RecordsArgs&) {
  const auto archive = FIB_TRY(open_archive(context));
  Json runs = Json::array();
  Table table({{"run", Align::kRight},
               {"signature"},
               {"hardware"},
               {"state"},
               {"candidates", Align::kRight},
               {"best"},
               {"speedup"},
               {"money", Align::kRight},
               {"at work", Align::kRight},
               {"begun"}});
  for (const RunRecord& run : FIB_TRY(archive->runs())) {
    const RunTotals totals = FIB_TRY(archive->totals(run.id));
    runs.push_back(run_to_json(run, totals));
    table.add({std::to_string(run.id), run.signature, run.hardware,
               state_cell(run, context.out_style), std::to_string(totals.candidates),
               totals.best ? fmt::format("#{}", *totals.best) : "",
               totals.best ? fmt::format("{:.3f}x {:.3f}-{:.3f}", totals.speedup,
                                         totals.speedup_low, totals.speedup_high)
                           : "",
               money_cell(totals.money), seconds_cell(run.active_s), run.started});
  }
  if (context.json()) {
    print_json(context, {{"runs", runs}});
  } else if (runs.empty()) {
    context.out << "no searches in " << context.store_file.string() << "\n";
  } else {
    table.print(context.out, context.out_style);
  }
  return kExitPassed;
}

Result<agents::RunReport> read_report(const RunArchive& archive, int64_t run) {
  RunRecord record = FIB_TRY(archive.run(run));
  return agents::make_report(std::move(record), FIB_TRY(archive.candidates(run)));
}

// The fastest, those that were the best once, and what the best descends from.
std::set<int64_t> candidates_that_matter(const agents::RunReport& report, size_t limit) {
  std::set<int64_t> numbers(report.improvements);
  const size_t shown = std::min(limit, report.ranking.size());
  numbers.insert(report.ranking.begin(), report.ranking.begin() + static_cast<ptrdiff_t>(shown));
  if (const CandidateRecord* best = report.best()) {
    for (const int64_t ancestor : report.line_of(best->number)) numbers.insert(ancestor);
  }
  return numbers;
}

Result<void> write_page(const RunArchive& archive, const Store& store,
                        const agents::RunReport& report, const RecordsArgs& args) {
  std::vector<agents::CandidateDetails> details;
  for (const int64_t number : candidates_that_matter(report, args.limit)) {
    details.push_back(FIB_TRY(candidate_details(archive, store, *report.find(number))));
  }
  return write_file_atomically(args.html, agents::run_page(report, details));
}

Result<int> show(const Context& context, const RecordsArgs& args) {
  const auto archive = FIB_TRY(open_archive(context));
  const auto store = FIB_TRY(Store::open(context.store_file));
  if (args.candidate) {
    const CandidateRecord candidate = FIB_TRY(archive->candidate(args.run, *args.candidate));
    const agents::CandidateDetails details =
        FIB_TRY(candidate_details(*archive, *store, candidate));
    if (context.json()) {
      print_json(context, candidate_details_to_json(candidate, details));
    } else {
      print_candidate(context, candidate, details);
    }
    return kExitPassed;
  }
  const agents::RunReport report = FIB_TRY(read_report(*archive, args.run));
  if (!args.html.empty()) FIB_CHECK(write_page(*archive, *store, report, args));
  if (!args.svg.empty()) FIB_CHECK(write_file_atomically(args.svg, agents::lineage_svg(report)));
  if (context.json()) {
    print_json(context, agents::report_to_json(report, args.limit));
    return kExitPassed;
  }
  print_report(context, report, args.limit);
  for (const std::filesystem::path& file : {args.html, args.svg}) {
    if (!file.empty()) context.out << "wrote " << file.string() << "\n";
  }
  return kExitPassed;
}

Result<int> tree(const Context& context, const RecordsArgs& args) {
  const auto archive = FIB_TRY(open_archive(context));
  const agents::RunReport report = FIB_TRY(read_report(*archive, args.run));
  if (args.of) FIB_TRY(archive->candidate(args.run, *args.of));  // says so where there is none
  if (context.json()) {
    print_json(context, tree_to_json(report, args.of));
  } else {
    print_tree(context.out, context.out_style, report,
               {.of = args.of, .leaves = args.is_each ? TreeLeaves::kEach : TreeLeaves::kSummed});
  }
  return kExitPassed;
}

CLI::App* add_part(CLI::App& agent, const char* name, const char* help,
                   const std::shared_ptr<RecordsArgs>& args, Action& action,
                   Result<int> (*part)(const Context&, const RecordsArgs&)) {
  CLI::App* added = agent.add_subcommand(name, help);
  added->callback([args, part, &action] {
    action = [args, part](const Context& context) { return part(context, *args); };
  });
  return added;
}

}  // namespace

void add_agent_records_commands(CLI::App& agent, Action& action) {
  auto args = std::make_shared<RecordsArgs>();
  const auto add_run = [&](CLI::App* command) {
    command->add_option("run", args->run, "Its number, as 'fib agent list' shows it")
        ->required()
        ->check(run_number());
  };

  CLI::App* list_command =
      add_part(agent, "list", "Searches, the newest first", args, action, list);
  list_command->footer("Example:\n  fib agent list --json\n");

  CLI::App* show_command =
      add_part(agent, "show", "A search: what it found, at what cost, and what came to nothing",
               args, action, show);
  add_run(show_command);
  CLI::Option* candidate =
      show_command
          ->add_option("--candidate", args->candidate,
                       "All of this one: feedback, what it changed, what was said")
          ->check(candidate_number());
  show_command
      ->add_option("--html", args->html, "Write a page with the picture, tables and candidates")
      ->type_name("FILE")
      ->excludes(candidate);
  show_command
      ->add_option("--svg", args->svg, "Write the picture: speedups by candidate, and lineage")
      ->type_name("FILE")
      ->excludes(candidate);
  show_command->add_option("--limit", args->limit, "So many of the fastest candidates")
      ->check(whole_count())
      ->capture_default_str();
  show_command->footer(
      "Examples:\n"
      "  fib agent show 3\n"
      "  fib agent show 3 --html search.html\n"
      "  fib agent show 3 --candidate 57\n");

  CLI::App* tree_command =
      add_part(agent, "tree", "Who was made of whom; new bests are marked", args, action, tree);
  add_run(tree_command);
  tree_command->add_option("--of", args->of, "Only what led to this candidate, and what came of it")
      ->check(candidate_number());
  tree_command->add_flag("--all", args->is_each,
                         "Those that came to nothing one by one, rather than counted");
  tree_command->footer("Example:\n  fib agent tree 3 --of 57\n");
}

}  // namespace fib
