#include "integrations/cli/app.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/commands.h"
#include "signatures/base/suggest.h"

namespace fib {

namespace {

struct GlobalOptions {
  bool json = false;
  std::string home, store, cache, color = "auto";
  std::vector<std::filesystem::path> datasets;
};

constexpr const char* kExamples =
    "A first walk:\n"
    "  fib doctor                                  what works on this machine\n"
    "  fib signature list                          what kernels are wanted\n"
    "  fib solution new mine --signature rmsnorm_h4096 --target cpu\n"
    "  fib submit mine                             compile, check, time, store\n"
    "  fib board rmsnorm_h4096                     who leads\n"
    "  fib compare mine best                       is it faster than the leader?\n"
    "\n"
    "Exit codes: 0 passed, 1 a verdict that didn't pass, 2 usage or bad input, 3 environment,\n"
    "130 interrupted, 70 a bug in fib.\n";

void add_global_options(CLI::App& app, GlobalOptions& options) {
  app.add_flag("--json", options.json, "Machine-readable output (docs/cli.md)");
  app.add_option("--store", options.store, "The store's file; else $FIB_STORE, else ./fib.db")
      ->type_name("FILE");
  app.add_option("--cache", options.cache,
                 "Builds and expected values; else $XDG_CACHE_HOME/fib, else ~/.cache/fib")
      ->type_name("DIR");
  app.add_option("--home", options.home, "A checkout of fib or an install's share/fib")
      ->type_name("DIR");
  app.add_option("--dataset", options.datasets,
                 "A FlashInfer-Trace dataset whose definitions are known too (repeatable)")
      ->type_name("DIR");
  app.add_option("--color", options.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
}

// Subcommands don't repeat the shared options in their help.
void point_to_global_options(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands({})) {
    std::string footer = command->get_footer();
    if (!footer.empty()) footer += "\n";
    command->footer(footer +
                    "Shared options (fib --help): --json --store --cache --home --dataset");
    point_to_global_options(*command);
  }
}

Style style_for(const GlobalOptions& options, const Environment& environment, bool is_terminal) {
  const bool colors = options.color == "always" ||
                      (options.color == "auto" && is_terminal && environment.wants_color);
  return Style(colors ? Style::Colors::kOn : Style::Colors::kOff);
}

std::filesystem::path cache_folder(const GlobalOptions& options, const Environment& environment) {
  if (!options.cache.empty()) return options.cache;
  if (environment.cache_home) return std::filesystem::path(*environment.cache_home) / "fib";
  if (environment.user_home) return std::filesystem::path(*environment.user_home) / ".cache/fib";
  return ".fib-cache";
}

std::filesystem::path store_file(const GlobalOptions& options, const Environment& environment) {
  if (!options.store.empty()) return options.store;
  return environment.store.value_or("fib.db");
}

CudaSearch cuda_search(const Environment& environment, std::filesystem::path cache_folder) {
  CudaSearch search{.cache_folder = std::move(cache_folder)};
  if (environment.cuda_home) search.roots.push_back(*environment.cuda_home);
  if (environment.virtual_env) search.python_prefixes.push_back(*environment.virtual_env);
  return search;
}

// CLI11 says of a word that is no command only that one is required; this names the word and the
// nearest command. Nothing where the trouble is another.
std::optional<std::string> unknown_command(const CLI::App& app) {
  const CLI::App* at = &app;
  std::string path = app.get_name();
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().back();
    path += " " + at->get_name();
  }
  const std::vector<const CLI::App*> commands =
      at->get_subcommands([](const CLI::App*) { return true; });
  const std::vector<std::string> unread = app.remaining(true);
  if (commands.empty() || unread.empty() || unread.front().starts_with('-')) return std::nullopt;
  std::vector<std::string> names;
  for (const CLI::App* command : commands) names.push_back(command->get_name());
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const auto nearest = nearest_word(unread.front(), candidates);
  return fmt::format("there is no command '{} {}'\n   try: {}\n", path, unread.front(),
                     nearest ? fmt::format("did you mean '{} {}'?", path, *nearest)
                             : fmt::format("'{} --help' lists them", path));
}

}  // namespace

int run_app(int argc, const char* const* argv, const Environment& environment, std::ostream& out,
            std::ostream& err) {
  CLI::App app("fib: where LLM-serving kernels compete.", "fib");
  app.require_subcommand(1);
  app.fallthrough();  // shared options may stand behind the command; subcommands inherit this
  app.set_version_flag("--version", FIB_VERSION);
  app.footer(kExamples);
  GlobalOptions options;
  add_global_options(app, options);

  Action action;
  add_submit_command(app, action);
  add_compare_command(app, action);
  add_profile_command(app, action);
  add_run_command(app, action);
  add_board_command(app, action);
  add_show_command(app, action);
  add_signature_command(app, action);
  add_workload_command(app, action);
  add_solution_command(app, action);
  add_import_command(app, action);
  add_export_command(app, action);
  add_cache_command(app, action);
  add_doctor_command(app, action);
  add_serve_command(app, action);
  add_replay_command(app, action);
  add_capture_command(app, action);
  add_ab_command(app, action);
  add_chat_command(app, action);
  add_bench_command(app, action);
  add_quantize_command(app, action);
  add_kernels_command(app, action);
  add_mcp_command(app, action);
  add_agent_command(app, action);
  point_to_global_options(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (const auto unknown = unknown_command(app)) {
      err << style_for(options, environment, environment.err_is_terminal).red("error: ")
          << *unknown;
      return kExitUsage;
    }
    // CLI11's own exit codes say more than the documented ones.
    return app.exit(error, out, err) == 0 ? kExitPassed : kExitUsage;
  }

  Context context{
      .out = out,
      .err = err,
      .format = options.json ? OutputFormat::kJson : OutputFormat::kText,
      .out_style = style_for(options, environment, environment.out_is_terminal),
      .err_style = style_for(options, environment, environment.err_is_terminal),
      .interactivity =
          environment.err_is_terminal ? Interactivity::kTerminal : Interactivity::kPipe,
      .executable = environment.executable,
      .store_file = store_file(options, environment),
      .cache_folder = cache_folder(options, environment),
      .datasets = options.datasets,
      .cuda_search = cuda_search(environment, cache_folder(options, environment)),
      .profiler_variables = environment.profiler_variables,
  };
  auto home = find_home(environment.executable, options.home);
  if (!home) return report_error(context, home.error());
  context.home = *std::move(home);

  const Result<int> code = action(context);
  return code ? *code : report_error(context, code.error());
}

}  // namespace fib
