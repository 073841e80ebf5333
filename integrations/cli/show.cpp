// fib show: one verdict in full, or the newest ones in a list.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/units.h"
#include "integrations/cli/verdict_view.h"
#include "leaderboard/store.h"

namespace fib {

namespace {

struct ShowArgs {
  int64_t id = 0;
  VerdictQuery query{.limit = 20};
};

// The raw samples, for whoever wants statistics of their own.
Json samples_to_json(const std::vector<ModeTiming>& timings) {
  Json modes = Json::array();
  for (const ModeTiming& timing : timings) {
    Json samples = Json::array();
    for (const Sample& sample : timing.samples) {
      samples.push_back({{"time_ns", sample.time_ns},
                         {"contender", sample.contender},
                         {"value_set", sample.value_set},
                         {"round", sample.round},
                         {"calls", sample.calls},
                         {"sm_clock_mhz", sample.sm_clock_mhz},
                         {"memory_clock_mhz", sample.memory_clock_mhz},
                         {"throttle_reasons", sample.throttle_reasons}});
    }
    modes.push_back({{"mode", timing_mode_name(timing.mode)},
                     {"clock", clock_name(timing.clock)},
                     {"samples", samples}});
  }
  return modes;
}

Result<int> show_one(const Context& context, const Store& store, int64_t id) {
  const Verdict verdict = FIB_TRY(store.get(id));
  if (context.json()) {
    Json document = verdict_to_json(verdict);
    document["samples"] = samples_to_json(verdict.samples);
    document["paired_samples"] = samples_to_json(verdict.paired_samples);
    print_json(context, document);
  } else {
    print_verdict(context.out, context.out_style, verdict);
  }
  return kExitPassed;
}

Result<int> show_newest(const Context& context, const Store& store, const VerdictQuery& query) {
  if (!query.status.empty() && !trace_status_from_name(query.status)) {
    return fail(ErrorCode::kInvalidInput, fmt::format("there is no status '{}'", query.status),
                "--status", "PASSED, INCORRECT_NUMERICAL, COMPILE_ERROR, TIMEOUT, ...");
  }
  const std::vector<Verdict> verdicts = FIB_TRY(store.query(query));
  if (context.json()) {
    for (const Verdict& verdict : verdicts) print_json_line(context, verdict_to_json(verdict));
    return kExitPassed;
  }
  if (verdicts.empty()) {
    context.out << "no verdicts in " << context.store_file.string() << "\n";
    return kExitPassed;
  }
  Table table({{"verdict", Align::kRight},
               {"solution"},
               {"signature"},
               {"workload"},
               {"cold median", Align::kRight},
               {"status"}});
  for (const Verdict& verdict : verdicts) {
    const ModeSummary* cold = verdict.timing(TimingMode::kCold);
    table.add({std::to_string(verdict.id), verdict.solution, verdict.signature,
               axes_text(verdict.axes),
               cold == nullptr ? "" : format_duration_ns(cold->latency_ns.median),
               status_cell(verdict, context.out_style)});
  }
  table.print(context.out, context.out_style);
  return kExitPassed;
}

Result<int> run_show(const Context& context, const ShowArgs& args) {
  if (!std::filesystem::exists(context.store_file)) {  // looking makes no file
    return fail(ErrorCode::kNotFound, "there is no store", context.store_file.string(),
                "'fib submit' makes one");
  }
  const auto store = FIB_TRY(Store::open(context.store_file));
  return args.id != 0 ? show_one(context, *store, args.id)
                      : show_newest(context, *store, args.query);
}

}  // namespace

void add_show_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ShowArgs>();
  CLI::App* command = app.add_subcommand("show", "Show a verdict in full, or list the newest");
  command->add_option("verdict", args->id, "Its number; without it the newest are listed")
      ->check(CLI::PositiveNumber);
  command->add_option("--signature", args->query.signature, "List those on this signature");
  command->add_option("--solution", args->query.solution, "List those of this solution");
  command->add_option("--hardware", args->query.hardware, "List those on this hardware key");
  command->add_option("--status", args->query.status, "List those with this status");
  command->add_option("--limit", args->query.limit, "List at most so many")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  fib show 12\n"
      "  fib show --solution my-kernel --status INCORRECT_NUMERICAL\n"
      "  fib show 12 --json                          with every raw sample\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_show(context, *args); };
  });
}

}  // namespace fib
