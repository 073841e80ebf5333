// fib solution: folders with a manifest and real source files, and the Solution JSON of the
// FlashInfer-Trace ecosystem that they are packed into.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "agents/skeleton.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/solution_files.h"
#include "integrations/cli/text.h"
#include "leaderboard/store.h"
#include "signatures/base/file.h"
#include "signatures/solution_folder.h"

namespace fib {

namespace {

struct SolutionArgs {
  std::filesystem::path path, output;
  std::string name, signature, target, author = "me";
  bool is_stored = false;
};

std::string target_text(const Solution& solution) {
  const auto manifest = manifest_of(solution);
  return manifest ? manifest->target : std::string(language_name(solution.language));
}

Json summary_json(const Solution& solution) {
  return {{"name", solution.name},
          {"signature", solution.definition},
          {"author", solution.author},
          {"target", target_text(solution)},
          {"description", solution.description},
          {"key", solution_key(solution)}};
}

Result<int> list(const Context& context, const SolutionArgs& args) {
  std::vector<Solution> solutions;
  if (args.is_stored) {
    solutions = FIB_TRY(FIB_TRY(Store::open(context.store_file))->solutions());
  } else {
    solutions =
        FIB_TRY(read_solutions_below(args.path.empty() ? context.home.solutions() : args.path));
  }
  Json entries = Json::array();
  Table table({{"solution"}, {"for"}, {"target"}, {"author"}, {"description"}});
  for (const Solution& solution : solutions) {
    entries.push_back(summary_json(solution));
    table.add({solution.name, solution.definition, target_text(solution), solution.author,
               solution.description});
  }
  if (context.json()) {
    print_json(context, {{"solutions", entries}});
  } else {
    table.print(context.out, context.out_style);
  }
  return kExitPassed;
}

// A folder or file; else the name or key of one in the store.
Result<Solution> find_solution(const Context& context, const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return read_solution(path);
  if (!std::filesystem::exists(context.store_file, ignored)) {
    return fail(ErrorCode::kNotFound, "no such folder or file, and there is no store to look in",
                path.string());
  }
  return FIB_TRY(Store::open(context.store_file))->solution(path.string());
}

Result<int> show(const Context& context, const SolutionArgs& args) {
  const Solution solution = FIB_TRY(find_solution(context, args.path));
  if (context.json()) {
    print_json(context, solution_to_json(solution));
    return kExitPassed;
  }
  const Style& style = context.out_style;
  context.out << style.bold(solution.name) << "  for " << solution.definition << ", by "
              << solution.author << ", target " << target_text(solution) << "\n";
  if (!solution.description.empty()) context.out << solution.description << "\n";
  context.out << style.dim("key " + solution_key(solution)) << "\n"
              << style.dim("ecosystem hash " + ecosystem_solution_hash(solution)) << "\n";
  for (const SourceFile& source : solution.sources) {
    context.out << "\n" << style.bold(source.path) << "\n" << source.content;
    if (!source.content.ends_with('\n')) context.out << "\n";
  }
  return kExitPassed;
}

Result<int> validate(const Context& context, const SolutionArgs& args) {
  const Solution solution = FIB_TRY(read_solution(args.path));
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  FIB_CHECK(design_space_of(solution));  // a packed one's blocks and flags aren't checked yet
  const Catalog catalog = FIB_TRY(open_catalog(context));
  std::vector<std::string> fitting;
  for (const SignaturePtr& signature : catalog.all()) {
    if (!solution_fits(solution, *signature)) continue;
    FIB_CHECK(check_constraints(manifest.space, *signature));
    fitting.push_back(signature->name);
  }
  if (fitting.empty()) fitting.push_back(FIB_TRY(catalog.find(solution.definition))->name);
  if (context.json()) {
    Json document = summary_json(solution);
    document["fits"] = fitting;
    print_json(context, document);
  } else {
    context.out << fmt::format("{}: valid, target {}, {}, fits {}\n", solution.name,
                               manifest.target, counted(solution.sources.size(), "source"),
                               counted(fitting.size(), "signature"));
  }
  return kExitPassed;
}

Result<int> create(const Context& context, const SolutionArgs& args) {
  std::error_code ignored;
  if (std::filesystem::exists(args.path, ignored) &&
      !std::filesystem::is_empty(args.path, ignored)) {
    return fail(ErrorCode::kInvalidInput, "the folder is not empty", args.path.string(),
                "name a new one");
  }
  const Catalog catalog = FIB_TRY(open_catalog(context));
  const SignaturePtr signature = FIB_TRY(catalog.find(args.signature));
  // "mine/" is named like "mine".
  const std::filesystem::path folder = std::filesystem::absolute(args.path / ".").parent_path();
  const std::vector<SourceFile> files = FIB_TRY(
      make_skeleton(*signature, {.target = args.target,
                                 .name = args.name.empty() ? folder.filename().string() : args.name,
                                 .author = args.author}));
  std::filesystem::create_directories(args.path, ignored);
  for (const SourceFile& file : files) {
    FIB_CHECK(write_file_atomically(args.path / file.path, file.content));
  }
  const Solution solution = FIB_TRY(read_solution_folder(args.path));
  if (context.json()) {
    print_json(context, {{"folder", args.path.string()}, {"solution", summary_json(solution)}});
  } else {
    context.out << fmt::format("wrote {}; next: fib submit {}\n", args.path.string(),
                               args.path.string());
  }
  return kExitPassed;
}

Result<int> pack(const Context& context, const SolutionArgs& args) {
  const Solution solution = FIB_TRY(read_solution(args.path));
  const Json document = solution_to_json(solution);
  if (args.output.empty()) {
    print_json(context, document);
    return kExitPassed;
  }
  FIB_CHECK(write_file_atomically(args.output, dump_json_pretty(document)));
  if (!context.json()) context.out << "wrote " << args.output.string() << "\n";
  return kExitPassed;
}

Result<int> unpack(const Context& context, const SolutionArgs& args) {
  const Solution solution = FIB_TRY(find_solution(context, args.path));
  FIB_CHECK(write_solution_folder(solution, args.output));
  if (context.json()) {
    print_json(context, {{"folder", args.output.string()}, {"solution", summary_json(solution)}});
  } else {
    context.out << fmt::format("wrote {} with {}\n", args.output.string(),
                               counted(solution.sources.size(), "source"));
  }
  return kExitPassed;
}

CLI::App* add_part(CLI::App& command, const char* name, const char* help,
                   const std::shared_ptr<SolutionArgs>& args, Action& action,
                   Result<int> (*part)(const Context&, const SolutionArgs&)) {
  CLI::App* added = command.add_subcommand(name, help);
  added->callback([args, part, &action] {
    action = [args, part](const Context& context) { return part(context, *args); };
  });
  return added;
}

}  // namespace

void add_solution_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<SolutionArgs>();
  CLI::App* command =
      app.add_subcommand("solution", "List, show, validate, start, pack and unpack solutions");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  fib solution new mine --signature rmsnorm_h4096 --target cpu\n"
      "  fib solution list --stored\n"
      "  fib solution pack mine -o mine.json\n");

  CLI::App* list_command =
      add_part(*command, "list", "The house's solutions, or a folder's", args, action, list);
  list_command->add_option("path", args->path, "A folder with solutions at any depth");
  list_command->add_flag("--stored", args->is_stored, "Those that were judged or imported");
  list_command->footer("Example:\n  fib solution list --json\n");

  CLI::App* show_command =
      add_part(*command, "show", "A solution with its sources", args, action, show);
  show_command->add_option("solution", args->path, "Folder, JSON file, or name in the store")
      ->required();
  show_command->footer("Example:\n  fib solution show rmsnorm-rows\n");

  CLI::App* validate_command = add_part(
      *command, "validate", "Check a solution without building it", args, action, validate);
  validate_command->add_option("path", args->path, "Folder or JSON file")->required();
  validate_command->footer("Example:\n  fib solution validate mine\n");

  CLI::App* new_command =
      add_part(*command, "new", "A folder that compiles, to start from", args, action, create);
  new_command->add_option("path", args->path, "The folder to make")->required();
  new_command->add_option("--signature", args->signature, "What it is for")->required();
  new_command->add_option("--target", args->target, "cpu or cuda")
      ->required()
      ->check(CLI::IsMember({"cpu", "cuda"}));
  new_command->add_option("--name", args->name, "Default: the folder's name");
  new_command->add_option("--author", args->author, "Who wrote it")->capture_default_str();
  new_command->footer("Example:\n  fib solution new mine --signature rmsnorm_h4096 --target cpu\n");

  CLI::App* pack_command =
      add_part(*command, "pack", "A folder as one Solution JSON", args, action, pack);
  pack_command->add_option("path", args->path, "Folder")->required();
  pack_command->add_option("-o,--output", args->output, "File to write; default: print it");
  pack_command->footer("Example:\n  fib solution pack mine -o mine.json\n");

  CLI::App* unpack_command =
      add_part(*command, "unpack", "A Solution JSON as a folder", args, action, unpack);
  unpack_command->add_option("solution", args->path, "JSON file, or name in the store")->required();
  unpack_command->add_option("folder", args->output, "The folder to make")->required();
  unpack_command->footer("Example:\n  fib solution unpack mine.json mine-again\n");
}

}  // namespace fib
