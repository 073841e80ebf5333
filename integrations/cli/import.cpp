// fib import: definitions, solutions and traces of a FlashInfer-Trace dataset into the store. Read
// tolerantly: a file that can't be read is reported and the others are taken.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/solution_files.h"
#include "integrations/cli/text.h"
#include "leaderboard/store.h"

namespace fib {

namespace {

struct Imported {
  int64_t definitions = 0, solutions = 0;
  int64_t traces = 0, traces_known = 0;
  int64_t workload_rows = 0;  // left where they are: --workloads reads them in place
  std::vector<Error> errors;
};

Result<void> import_definitions(Store& store, const std::filesystem::path& root,
                                Imported& imported) {
  for (const std::filesystem::path& file : files_below(root / "definitions", {".json"})) {
    const auto signature = read_signature(file, Strictness::kTolerant);
    if (!signature) {
      imported.errors.push_back(signature.error());
      continue;
    }
    FIB_CHECK(store.add_definition(*signature, root.string()));
    ++imported.definitions;
  }
  return {};
}

Result<void> import_solutions(Store& store, const std::filesystem::path& root, Imported& imported) {
  for (const std::filesystem::path& file : files_below(root / "solutions", {".json"})) {
    const auto solution = read_solution(file);
    if (!solution) {
      imported.errors.push_back(solution.error());
      continue;
    }
    FIB_CHECK(store.add_solution(*solution));
    ++imported.solutions;
  }
  return {};
}

Result<void> import_traces(Store& store, const std::filesystem::path& root, Imported& imported) {
  for (const char* folder : {"traces", "workloads"}) {
    for (const std::filesystem::path& file : files_below(root / folder, {".jsonl", ".jsonl.gz"})) {
      auto traces = read_traces(file, Strictness::kTolerant);
      if (!traces) {
        imported.errors.push_back(traces.error());
        continue;
      }
      imported.workload_rows += static_cast<int64_t>(
          std::erase_if(*traces, [](const Trace& trace) { return !trace.solution; }));
      const int64_t added = FIB_TRY(store.add_foreign_traces(*traces, root.string()));
      imported.traces += added;
      imported.traces_known += static_cast<int64_t>(traces->size()) - added;
    }
  }
  return {};
}

Result<int> run_import(const Context& context, const std::filesystem::path& given) {
  std::error_code trouble;
  if (!std::filesystem::is_directory(given, trouble)) {
    return fail(ErrorCode::kNotFound, "no such folder", given.string(),
                "name a dataset: a folder with definitions/, workloads/, solutions/ or traces/");
  }
  // The origin means the same wherever the store is read from.
  const std::filesystem::path root = std::filesystem::canonical(given, trouble);
  const auto store = FIB_TRY(Store::open(context.store_file));
  Imported imported;
  FIB_CHECK(import_definitions(*store, root, imported));
  FIB_CHECK(import_solutions(*store, root, imported));
  FIB_CHECK(import_traces(*store, root, imported));
  const int64_t found = imported.definitions + imported.solutions + imported.traces +
                        imported.traces_known + imported.workload_rows;
  if (found == 0 && imported.errors.empty()) {
    return fail(ErrorCode::kNotFound, "no dataset in there", given.string(),
                "name a folder with definitions/, workloads/, solutions/ or traces/");
  }

  Json errors = Json::array();
  for (const Error& error : imported.errors) {
    errors.push_back(error_to_json(error));
    if (!context.json()) report_error(context, error);
  }
  if (context.json()) {
    print_json(context, {{"definitions", imported.definitions},
                         {"solutions", imported.solutions},
                         {"traces", imported.traces},
                         {"traces_known", imported.traces_known},
                         {"workload_rows", imported.workload_rows},
                         {"errors", errors}});
  } else {
    context.out << fmt::format(
        "{}, {}, {} ({} known already), {}, into {}\n", counted(imported.definitions, "definition"),
        counted(imported.solutions, "solution"), counted(imported.traces, "new trace"),
        imported.traces_known, counted(imported.errors.size(), "error"),
        context.store_file.string());
    if (imported.workload_rows > 0) {
      context.out << fmt::format("{} stay where they are: --dataset {} --workloads {} uses them\n",
                                 counted(imported.workload_rows, "workload"), given.string(),
                                 given.string());
    }
  }
  return imported.errors.empty() ? kExitPassed : exit_code_of(imported.errors.front().code);
}

}  // namespace

void add_import_command(CLI::App& app, Action& action) {
  auto dataset = std::make_shared<std::filesystem::path>();
  CLI::App* command = app.add_subcommand(
      "import", "Take definitions, solutions and traces of a FlashInfer-Trace dataset");
  command->add_option("dataset", *dataset, "Its root folder")->required();
  command->footer(
      "Traces of other harnesses are kept apart from our verdicts and never ranked.\n"
      "Example:\n"
      "  fib import ~/flashinfer-trace\n");
  command->callback([dataset, &action] {
    action = [dataset](const Context& context) { return run_import(context, *dataset); };
  });
}

}  // namespace fib
