// fib board: who leads.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/units.h"
#include "leaderboard/store.h"

namespace fib {

namespace {

struct BoardArgs {
  std::string signature, hardware;
};

Json row_to_json(const BoardRow& row) {
  return {{"rank", row.rank},
          {"solution", row.solution},
          {"solution_key", row.solution_key},
          {"author", row.author},
          {"is_baseline", row.is_baseline},
          {"workloads_passed", row.workloads_passed},
          {"workloads_total", row.workloads_total},
          {"geomean_latency_ns", row.geomean_latency_ns},
          {"geomean_speedup", row.geomean_speedup},
          {"speedup_low", row.speedup_low},
          {"speedup_high", row.speedup_high},
          {"worst_speedup", row.worst_speedup},
          {"worst_workload", row.worst_workload},
          {"roofline_fraction", row.roofline_fraction},
          {"failing_status", row.failing_status}};
}

bool same_board(const BoardRow& a, const BoardRow& b) {
  return a.signature == b.signature && a.hardware == b.hardware && a.config_key == b.config_key;
}

// Rows come sorted by board; calls `body(begin, end)` for each.
template <class Body>
void for_each_board(const std::vector<BoardRow>& rows, const Body& body) {
  for (auto begin = rows.begin(); begin != rows.end();) {
    auto end = begin;
    while (end != rows.end() && same_board(*begin, *end)) ++end;
    body(begin, end);
    begin = end;
  }
}

Json boards_to_json(const std::vector<BoardRow>& rows) {
  Json boards = Json::array();
  for_each_board(rows, [&](auto begin, auto end) {
    Json entries = Json::array();
    for (auto row = begin; row != end; ++row) entries.push_back(row_to_json(*row));
    boards.push_back({{"signature", begin->signature},
                      {"hardware", begin->hardware},
                      {"config_key", begin->config_key},
                      {"rows", entries}});
  });
  return {{"boards", boards}};
}

std::vector<std::string> cells_of(const BoardRow& row, const Style& style) {
  const std::string coverage = fmt::format("{}/{}", row.workloads_passed, row.workloads_total);
  const std::string name = row.rank == 1 ? style.bold(row.solution) : row.solution;
  if (row.rank == 0) {
    return {"-", name, row.author, "", "", "", coverage, "", style.red(row.failing_status)};
  }
  return {std::to_string(row.rank),
          name,
          row.author,
          fmt::format("{}  {:.2f}-{:.2f}", format_factor(row.geomean_speedup), row.speedup_low,
                      row.speedup_high),
          format_duration_ns(row.geomean_latency_ns),
          row.roofline_fraction > 0.0 ? format_percent(row.roofline_fraction) : "",
          coverage,
          row.is_baseline ? "" : format_factor(row.worst_speedup),
          row.is_baseline ? style.dim("baseline") : ""};
}

void print_board(const Context& context, const std::vector<BoardRow>& rows) {
  const Style& style = context.out_style;
  std::string previous;
  for_each_board(rows, [&](auto begin, auto end) {
    const std::string title = begin->signature + "  " + begin->hardware;
    context.out << (previous.empty() ? "" : "\n") << style.bold(begin->signature) << "  "
                << begin->hardware;
    // Results measured differently stand in boards of their own.
    if (title == previous || (end != rows.end() && end->signature == begin->signature &&
                              end->hardware == begin->hardware)) {
      context.out << style.dim("  measured as " + begin->config_key.substr(0, 12));
    }
    context.out << "\n";
    previous = title;
    Table table({{"rank", Align::kRight},
                 {"solution"},
                 {"author"},
                 {"speedup  95 %", Align::kRight},
                 {"latency", Align::kRight},
                 {"roofline", Align::kRight},
                 {"workloads", Align::kRight},
                 {"worst", Align::kRight},
                 {""}});
    for (auto row = begin; row != end; ++row) table.add(cells_of(*row, style));
    table.print(context.out, style, "  ");
  });
}

Result<int> run_board(const Context& context, const BoardArgs& args) {
  std::vector<BoardRow> rows;
  // Looking makes no file.
  if (std::filesystem::exists(context.store_file)) {
    const auto store = FIB_TRY(Store::open(context.store_file));
    rows = FIB_TRY(store->board(args.signature));
  }
  if (!args.hardware.empty()) {
    std::erase_if(rows, [&](const BoardRow& row) { return row.hardware != args.hardware; });
  }
  if (context.json()) {
    print_json(context, boards_to_json(rows));
  } else if (rows.empty()) {
    context.out << "no verdicts" << (args.signature.empty() ? "" : " on " + args.signature)
                << " in " << context.store_file.string() << "; 'fib submit' makes some\n";
  } else {
    print_board(context, rows);
  }
  return kExitPassed;
}

}  // namespace

void add_board_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<BoardArgs>();
  CLI::App* command = app.add_subcommand("board", "Rank the solutions of the store");
  command->add_option("signature", args->signature, "Default: all that have verdicts");
  command->add_option("--hardware", args->hardware, "This hardware key only")->type_name("KEY");
  command->footer(
      "Ranked by the traffic-weighted geometric mean of cold speedups over the baseline, the\n"
      "slowest ranked house solution. Overlapping intervals share a rank; who hasn't passed every\n"
      "workload isn't ranked.\n"
      "Examples:\n"
      "  fib board\n"
      "  fib board rmsnorm_h4096 --json\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_board(context, *args); };
  });
}

}  // namespace fib
