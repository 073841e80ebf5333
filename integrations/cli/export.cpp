// fib export: what the store knows, for others: a package of kernels that engines load, or a
// FlashInfer-Trace dataset.

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "integrations/cli/commands.h"
#include "integrations/cli/export_options.h"

namespace fib {

namespace {

const char* selecting_option(const ExportArgs& args) {
  const ExportArgs defaults;
  if (!args.hardware.empty()) return "--hardware";
  if (args.policy != defaults.policy) return "--policy";
  if (args.min_gain != defaults.min_gain) return "--min-gain";
  if (!args.only.empty()) return "--only";
  return args.is_explained ? "--explain" : nullptr;
}

// An option that says nothing about what is exported is a misunderstanding.
Result<void> check_options(const ExportArgs& args) {
  struct Misplaced {
    bool is_given;
    const char* option;
    const char* format;
  };
  const Misplaced options[] = {
      {args.is_all, "--all", "flashinfer-trace"},
      {args.is_winners, "--winners", "flashinfer-trace"},
      {args.is_house, "--house", "package"},
      {!args.model.empty(), "--model", "package"},
      {!args.architectures.empty(), "--arch", "package"},
      {!args.cpu_levels.empty(), "--cpu-level", "package"},
      {!args.name.empty(), "--name", "package"},
      {!args.version.empty(), "--version", "package"},
      {args.has_archive, "--archive", "package"},
      {args.has_wheel, "--wheel", "package"},
  };
  for (const Misplaced& option : options) {
    if (!option.is_given || args.format == option.format) continue;
    return fail(ErrorCode::kInvalidInput, fmt::format("is for --format {}", option.format),
                option.option, fmt::format("leave it out, or add --format {}", option.format));
  }
  if (args.is_all && args.is_winners) {
    return fail(ErrorCode::kInvalidInput, "superseded verdicts are nobody's wins", "--all",
                "leave out --all or --winners");
  }
  if (const char* option = selecting_option(args);
      option != nullptr && args.format != "package" && !args.is_winners) {
    return fail(ErrorCode::kInvalidInput, "chooses among winners, and all is exported", option,
                "leave it out, or add --winners");
  }
  if (const char* option = selecting_option(args); option != nullptr && args.is_house) {
    return fail(ErrorCode::kInvalidInput, "chooses among winners, and --house has none", option,
                "leave it out, or --house");
  }
  if (args.folder.empty() && (args.format != "package" || !args.is_explained)) {
    return fail(ErrorCode::kInvalidInput, "where to?", "OUT",
                "name a folder; --explain alone says what would be in it");
  }
  return {};
}

Result<int> run_export(const Context& context, const ExportArgs& args) {
  FIB_CHECK(check_options(args));
  return args.format == "package" ? export_package(context, args) : export_dataset(context, args);
}

void add_selection_options(CLI::App& command, ExportArgs& args) {
  command.add_option("--signature", args.signatures, "This signature only (repeatable)")
      ->type_name("NAME");
  command
      .add_option("--hardware", args.hardware,
                  "Evidence of this hardware only (repeatable); default: all in the store")
      ->allow_extra_args(false)
      ->type_name("KEY");
  command
      .add_option(
          "--policy", args.policy,
          "Who may win: confirmed, conservative (faster on every workload), or fastest (the "
          "best estimate, to try things out)")
      ->check(CLI::IsMember({"confirmed", "conservative", "fastest"}))
      ->capture_default_str();
  command
      .add_option("--min-gain", args.min_gain, "What a winner gains over the fallback: 0.02 is 2 %")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command.add_option("--only", args.only, "These may win (names or keys; repeatable)")
      ->allow_extra_args(false)
      ->type_name("SOLUTION");
  command.add_flag("--explain", args.is_explained,
                   "Say why each bucket got what it got; without OUT nothing is built");
}

void add_package_options(CLI::App& command, ExportArgs& args) {
  command.add_option("--model", args.model,
                     "All signatures of this model: a bundled one's name, or a folder");
  command.add_flag("--house", args.is_house, "No winners, the house's solutions alone");
  command
      .add_option("--arch", args.architectures,
                  "Device code for these cards, as sm_90a (repeatable); default: those that the "
                  "evidence is of")
      ->allow_extra_args(false)
      ->type_name("SM");
  command
      .add_option("--cpu-level", args.cpu_levels,
                  "Host code for these processors (repeatable): native, x86-64-v3, x86-64-v4, "
                  "x86-64-v4-bf16, x86-64-v4-amx, portable (these four), none; default: native, "
                  "with --archive or --wheel portable")
      ->allow_extra_args(false)
      ->type_name("LEVEL");
  command.add_option("--name", args.name, "The package's name; default: fib-kernels")
      ->type_name("TEXT");
  command
      .add_option("--version", args.version,
                  "The package's version; default: the day of the newest evidence and a hash of "
                  "what is in it, as 2026.11.22+3f9a12c0")
      ->type_name("TEXT");
  command.add_flag("--archive", args.has_archive, "OUT.tar.zst as well");
  command.add_flag("--wheel", args.has_wheel, "A Python wheel beside OUT as well");
}

}  // namespace

void add_export_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ExportArgs>();
  CLI::App* command =
      app.add_subcommand("export", "Winners as a kernel package, or the store as a dataset");
  command->add_option("out", args->folder, "The package, or a new folder for a dataset")
      ->type_name("OUT");
  command->add_option("--format", args->format, "What is written")
      ->check(CLI::IsMember({"package", "flashinfer-trace"}))
      ->capture_default_str();
  add_selection_options(*command, *args);
  add_package_options(*command, *args);
  command->add_flag("--winners", args->is_winners,
                    "flashinfer-trace: the solutions that a package would contain, and their "
                    "verdicts");
  command->add_flag("--all", args->is_all,
                    "flashinfer-trace: superseded verdicts too, not just the latest");
  command->footer(
      "Winners are chosen from paired verdicts ('fib compare', 'fib submit --against'), bucket by\n"
      "bucket of sizes; the house's solutions serve the rest. docs/package.md tells how.\n"
      "Examples:\n"
      "  fib export --explain\n"
      "  fib export kernels --model fib-tiny-moe\n"
      "  fib export kernels --house --signature rmsnorm_h4096 --arch sm_90a --cpu-level portable\n"
      "  fib export results --format flashinfer-trace\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_export(context, *args); };
  });
}

}  // namespace fib
