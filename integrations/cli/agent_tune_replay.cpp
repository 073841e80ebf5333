// fib agent tune-replay: strategies of `tune` on a measured space, without a device; and such a
// space from what a search found out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "agents/proposers/tune/replay.h"
#include "integrations/cli/agent_commands.h"
#include "integrations/cli/text.h"
#include "leaderboard/run_archive.h"
#include "leaderboard/store.h"
#include "signatures/base/file.h"

namespace fib {

namespace {

struct TuneReplayArgs {
  std::filesystem::path space, written;
  std::string strategies;
  agents::ReplayOptions options;
  int64_t run = 0, candidate = 0;
};

struct Played {
  std::string strategy;
  agents::ReplayResult result;
};

constexpr double kNearOptimum = 0.95;

std::string percent(double fraction) { return fmt::format("{:.0f}", 100 * fraction); }

// 0, 5, 10, 20, 40, ... and the budget.
std::vector<int> milestones(int budget) {
  std::vector<int> tries = {0};
  for (int next = 5; next < budget; next *= 2) tries.push_back(next);
  if (budget > 0) tries.push_back(budget);
  return tries;
}

// "17 in 31 of 31 runs": the median over all runs, as long as half of them got there.
std::string tries_text(const agents::ReplayResult& result, double fraction) {
  std::vector<int> tries = result.tries_until(fraction);
  std::sort(tries.begin(), tries.end());
  const int median = tries[tries.size() / 2];
  const auto reached =
      std::count_if(tries.begin(), tries.end(), [&](int one) { return one <= result.budget(); });
  return fmt::format(
      "{} ({}/{})",
      median <= result.budget() ? std::to_string(median) : fmt::format(">{}", result.budget()),
      reached, tries.size());
}

void print_played(const Context& context, const agents::MeasuredSpace& space,
                  const TuneReplayArgs& args, const std::vector<Played>& played) {
  const auto worked = std::count_if(space.measurements.begin(), space.measurements.end(),
                                    [](const auto& one) { return one.failure.empty(); });
  context.out << fmt::format(
      "{}: {} measured, {} of them work, the best {:.3f}x\n"
      "best found after so many tries, % of the optimum: median (quartiles) of {}\n\n",
      context.out_style.bold(space.name),
      counted(static_cast<int64_t>(space.measurements.size()), "configuration"), worked,
      space.optimum(), counted(args.options.runs, "run"));
  std::vector<Table::Column> columns = {{"strategy"}};
  for (const int tries : milestones(args.options.budget)) {
    columns.push_back({std::to_string(tries), Align::kRight});
  }
  columns.push_back({fmt::format("tries to {} %", percent(kNearOptimum)), Align::kRight});
  columns.push_back({"to the optimum", Align::kRight});
  Table table(std::move(columns));
  for (const Played& one : played) {
    std::vector<std::string> cells = {one.strategy};
    for (const int tries : milestones(args.options.budget)) {
      const auto [low, median, high] = one.result.quartiles_after(tries);
      cells.push_back(fmt::format("{} ({}-{})", percent(median), percent(low), percent(high)));
    }
    cells.push_back(tries_text(one.result, kNearOptimum));
    cells.push_back(tries_text(one.result, 1.0));
    table.add(std::move(cells));
  }
  table.print(context.out, context.out_style);
}

Json played_json(const agents::MeasuredSpace& space, const TuneReplayArgs& args,
                 const std::vector<Played>& played) {
  Json strategies = Json::array();
  for (const Played& one : played) {
    Json found = Json::array();
    for (int tries = 0; tries <= args.options.budget; ++tries) {
      const auto [low, median, high] = one.result.quartiles_after(tries);
      found.push_back({{"tries", tries},
                       {"lower_quartile", low},
                       {"median", median},
                       {"upper_quartile", high}});
    }
    strategies.push_back({{"strategy", one.strategy},
                          {"tries_until_95_percent", one.result.tries_until(kNearOptimum)},
                          {"tries_until_optimum", one.result.tries_until(1.0)},
                          {"found", std::move(found)}});
  }
  return {{"space", space.name},
          {"configurations", space.measurements.size()},
          {"optimum_speedup", space.optimum()},
          {"budget", args.options.budget},
          {"runs", args.options.runs},
          {"seed", args.options.seed},
          {"in_flight", args.options.in_flight},
          {"strategies", std::move(strategies)}};
}

Result<std::vector<agents::TuneStrategy>> strategies_of(const std::string& names) {
  if (names.empty()) return agents::tune_strategies();
  std::vector<agents::TuneStrategy> strategies;
  for (const std::string& name : split(names, ',')) {
    strategies.push_back(FIB_TRY(agents::tune_strategy_from_name(name)));
  }
  return strategies;
}

Result<int> play(const Context& context, const TuneReplayArgs& args) {
  const auto strategies = FIB_TRY(strategies_of(args.strategies));
  const agents::MeasuredSpace space = FIB_TRY(agents::read_measured_space(args.space));
  std::vector<Played> played;
  ProgressLine progress(context.err, context.interactivity);
  for (const agents::TuneStrategy strategy : strategies) {
    const std::string name(agents::tune_strategy_name(strategy));
    progress.show(fmt::format("{} plays {}", name, counted(args.options.runs, "run")));
    agents::ReplayOptions options = args.options;
    options.strategy = strategy;
    played.push_back({name, agents::replay(space, options)});
  }
  progress.clear();
  if (context.json()) {
    print_json(context, played_json(space, args, played));
  } else {
    print_played(context, space, args, played);
  }
  return kExitPassed;
}

// The candidates of a run with their sources; refused ones have none.
Result<std::vector<agents::Ancestor>> candidates_of(const Context& context, int64_t run) {
  const auto archive = FIB_TRY(RunArchive::open(context.store_file));
  const auto store = FIB_TRY(Store::open(context.store_file));
  std::vector<agents::Ancestor> candidates;
  for (CandidateRecord& record : FIB_TRY(archive->candidates(run))) {
    if (record.fate == CandidateFate::kRefused || record.solution_key.empty()) continue;
    Solution solution = FIB_TRY(store->solution(record.solution_key));
    candidates.push_back({std::move(solution), std::move(record)});
  }
  return candidates;
}

// The space around one candidate, as far as its run went through it.
Result<int> write_space(const Context& context, const TuneReplayArgs& args) {
  const Catalog catalog = FIB_TRY(open_catalog(context));
  const RunRecord run = FIB_TRY(FIB_TRY(RunArchive::open(context.store_file))->run(args.run));
  const SignaturePtr signature = FIB_TRY(catalog.find(run.signature));
  const auto candidates = FIB_TRY(candidates_of(context, args.run));
  const auto parent = std::find_if(
      candidates.begin(), candidates.end(),
      [&](const agents::Ancestor& one) { return one.record.number == args.candidate; });
  if (parent == candidates.end()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("run {} has no candidate {} with sources", args.run, args.candidate),
                "--candidate", fmt::format("fib agent show {} lists them", args.run));
  }
  agents::MeasuredSpace space = FIB_TRY(agents::measured_space_of(*parent, candidates, *signature));
  space.hardware = run.hardware;
  FIB_CHECK(write_file_atomically(args.written, agents::measured_space_text(space)));
  if (context.json()) {
    print_json(context, {{"file", args.written.string()},
                         {"configurations", space.measurements.size()},
                         {"optimum_speedup", space.optimum()}});
  } else {
    context.out << fmt::format(
        "wrote {} with {}\n", args.written.string(),
        counted(static_cast<int64_t>(space.measurements.size()), "configuration"));
  }
  return kExitPassed;
}

}  // namespace

void add_agent_tune_replay_command(CLI::App& agent, Action& action) {
  auto args = std::make_shared<TuneReplayArgs>();
  CLI::App* command = agent.add_subcommand(
      "tune-replay", "Compare the strategies of tune on a measured space, without a device");
  CLI::Option* space =
      command->add_option("space", args->space, "A measured space (docs/tunables.md)");
  CLI::Option* run = command->add_option("--from-run", args->run,
                                         "Write such a file of what this search measured instead");
  CLI::Option* written = command->add_option("-o,--output", args->written, "The file to write");
  command
      ->add_option("--candidate", args->candidate,
                   "With --from-run: whose configurations; default: 0, the first seed")
      ->needs(run);
  run->needs(written)->excludes(space);
  written->needs(run);
  command->add_option("--strategy", args->strategies,
                      "Of random, evolutionary and surrogate, by commas; default: all");
  command->add_option("--budget", args->options.budget, "Tries of a run")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--runs", args->options.runs, "Each with other chance and other noise")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--seed", args->options.seed, "The same seed gives the same numbers")
      ->capture_default_str();
  command
      ->add_option("--in-flight", args->options.in_flight,
                   "Tries at a time: the outcomes of the others aren't known yet")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  fib agent tune-replay space.json --budget 100 --in-flight 4\n"
      "  fib agent tune-replay --from-run 3 -o space.json\n");
  command->callback([args, space, run, &action] {
    if (*run) {
      action = [args](const Context& context) { return write_space(context, *args); };
      return;
    }
    if (!*space) throw CLI::RequiredError("space (a file) or --from-run");
    action = [args](const Context& context) { return play(context, *args); };
  });
}

}  // namespace fib
