// fib run: the matrix of solutions, signatures and workloads. What the store has is skipped, so a
// run that was stopped goes on where it stood.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>
#include <set>

#include "integrations/cli/commands.h"
#include "integrations/cli/evaluation.h"
#include "integrations/cli/instances.h"
#include "integrations/cli/runners.h"
#include "integrations/cli/solution_files.h"
#include "integrations/cli/text.h"
#include "signatures/solution_folder.h"

namespace fib {

namespace {

struct RunArgs {
  std::vector<std::filesystem::path> solutions;
  std::vector<std::string> signatures;
  std::string target;
  bool takes_all_instances = false;
  WorkloadChoice workloads;
  MeasureArgs measure;

  // Whoever names signatures, or a file of workloads, has said what is meant.
  bool leaves_instances_open() const {
    return signatures.empty() && workloads.path.empty() && !takes_all_instances;
  }
};

// The signatures asked for, else all.
Result<std::vector<SignaturePtr>> choose_signatures(const Catalog& catalog,
                                                    const std::vector<std::string>& asked) {
  if (asked.empty()) return catalog.all();
  std::vector<SignaturePtr> signatures;
  for (const std::string& name : asked) signatures.push_back(FIB_TRY(catalog.find(name)));
  return signatures;
}

struct Matrix {
  std::vector<EvaluationJob> jobs;  // of one target
  std::vector<Error> errors;
  std::set<std::string> notes;  // on what was left out
};

// The solutions of the runner's target that each signature is to be measured with.
struct Pairs {
  std::map<SignaturePtr, std::vector<const Solution*>> solutions;
  std::set<std::string> notes;
};

Pairs pair_up(const RunArgs& args, const Runner& runner, const std::vector<Solution>& solutions,
              const std::vector<SignaturePtr>& signatures) {
  Pairs pairs;
  for (const Solution& solution : solutions) {
    const auto manifest = manifest_of(solution);
    if (!manifest || manifest->target != runner.target()) continue;
    std::vector<SignaturePtr> fitting;
    std::ranges::copy_if(signatures, std::back_inserter(fitting), [&](const SignaturePtr& each) {
      return solution_fits(solution, *each) && runner.supports(solution, *each).ok;
    });
    std::vector<SignaturePtr> chosen =
        args.leaves_instances_open() ? default_instances(solution, runner, fitting) : fitting;
    if (chosen.size() < fitting.size()) {
      pairs.notes.insert(instances_note(solution, chosen, "--signatures"));
    }
    for (const SignaturePtr& signature : chosen) pairs.solutions[signature].push_back(&solution);
  }
  return pairs;
}

Result<Matrix> make_matrix(const Context& context, const RunArgs& args, const Runner& runner,
                           const std::vector<Solution>& solutions,
                           const std::vector<SignaturePtr>& signatures) {
  Matrix matrix;
  const Pairs pairs = pair_up(args, runner, solutions, signatures);
  matrix.notes = pairs.notes;
  for (const SignaturePtr& signature : signatures) {
    const auto fitting = pairs.solutions.find(signature);
    if (fitting == pairs.solutions.end()) continue;
    auto workloads = choose_workloads(context, *signature, args.workloads);
    if (!workloads) {
      // Signatures without workloads are left out of a whole matrix, but not when asked for; what
      // is wrong with a file is said in any case.
      if (!args.signatures.empty() || workloads.error().code != ErrorCode::kNotFound) {
        matrix.errors.push_back(workloads.error());
      }
      continue;
    }
    BoundProblems bound = bind_workloads(signature, *workloads);
    std::move(bound.errors.begin(), bound.errors.end(), std::back_inserter(matrix.errors));
    for (const Solution* solution : fitting->second) {
      if (!bound.problems.empty()) matrix.jobs.push_back({*solution, bound.problems});
    }
  }
  return matrix;
}

void add_up(EvaluationTotals& sum, EvaluationTotals part) {
  sum.measured += part.measured;
  sum.stored_before += part.stored_before;
  sum.passed += part.passed;
  if (sum.first_id == 0) sum.first_id = part.first_id;
  sum.last_id = std::max(sum.last_id, part.last_id);
  sum.is_interrupted = sum.is_interrupted || part.is_interrupted;
  std::move(part.errors.begin(), part.errors.end(), std::back_inserter(sum.errors));
}

Result<int> run_matrix(const Context& context, const RunArgs& args) {
  const EvaluationOptions options = FIB_TRY(evaluation_options(args.measure));
  const Catalog catalog = FIB_TRY(open_catalog(context, args.workloads.path));
  const auto signatures = FIB_TRY(choose_signatures(catalog, args.signatures));
  const std::vector<std::filesystem::path> roots =
      args.solutions.empty() ? std::vector{context.home.solutions()} : args.solutions;
  std::vector<Solution> solutions;
  for (const std::filesystem::path& root : roots) {
    for (Solution& solution : FIB_TRY(read_solutions_below(root))) {
      solutions.push_back(std::move(solution));
    }
  }
  const auto runners = make_runners(context);
  std::vector<Runner*> chosen;
  if (!args.target.empty()) {
    chosen.push_back(FIB_TRY(find_runner(runners, args.target)));
  } else {
    for (const auto& runner : runners) {
      if (runner->available().ok) chosen.push_back(runner.get());
    }
  }

  const auto store = FIB_TRY(Store::open(context.store_file));
  EvaluationTotals totals;
  for (Runner* runner : chosen) {
    Matrix matrix = FIB_TRY(make_matrix(context, args, *runner, solutions, signatures));
    std::move(matrix.errors.begin(), matrix.errors.end(), std::back_inserter(totals.errors));
    if (matrix.jobs.empty() || totals.is_interrupted) continue;
    std::vector<DeviceInfo> devices = FIB_TRY(parse_devices(*runner, args.measure.devices));
    if (args.signatures.empty()) {
      matrix.notes.merge(drop_too_large(devices, options.measure.value_sets, matrix.jobs));
    }
    for (const std::string& note : matrix.notes) context.err << note << "\n";
    if (matrix.jobs.empty()) continue;
    add_up(totals, FIB_TRY(evaluate_and_store(context, *store,
                                              {.runner = *runner,
                                               .devices = std::move(devices),
                                               .jobs = std::move(matrix.jobs),
                                               .options = options,
                                               .is_forced = args.measure.is_forced,
                                               .stored = StoredVerdicts::kCount})));
  }
  if (totals.verdicts() == 0 && totals.errors.empty() && !totals.is_interrupted) {
    return fail(ErrorCode::kNotFound, "nothing to run: no solution fits a signature with workloads",
                "", "look at 'fib solution list', 'fib signature list' and 'fib doctor'");
  }
  for (const Error& error : totals.errors) {
    if (!context.json()) report_error(context, error);
  }
  if (context.json()) {
    print_json_line(context, Json{{"summary", totals.to_json()}});
  } else {
    context.out << fmt::format("\n{} measured, {} in the store before, {} of {} passed; {}\n",
                               totals.measured, totals.stored_before, totals.passed,
                               totals.verdicts(), context.store_file.string());
    if (totals.is_interrupted) context.out << "interrupted; the same command goes on from here\n";
  }
  return totals.exit_code();
}

}  // namespace

void add_run_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<RunArgs>();
  CLI::App* command = app.add_subcommand(
      "run", "Measure many solutions on many signatures; skips what the store has");
  command
      ->add_option("--solutions", args->solutions,
                   "Folders with solutions at any depth; default: the house's own")
      ->type_name("DIR");
  command
      ->add_option("--signatures", args->signatures,
                   "Default: all, but on the cpu only the small ones of a family")
      ->delimiter(',');
  command->add_flag("--all-instances", args->takes_all_instances,
                    "All signatures, also the large ones on the cpu");
  command->add_option("--workloads", args->workloads.path, "A .jsonl file or a dataset")
      ->type_name("FILE|DIR");
  command->add_option("--limit", args->workloads.limit, "At most so many workloads a signature")
      ->check(CLI::PositiveNumber);
  command->add_option("--target", args->target, "Default: every target that works here");
  add_measure_options(*command, args->measure);
  command->footer(
      "Examples:\n"
      "  fib run                                     the house's solutions on everything\n"
      "  fib run --solutions entries --signatures rmsnorm_h4096,gemm_n4096_k4096\n"
      "  fib run --target cuda --devices all\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_matrix(context, *args); };
  });
}

}  // namespace fib
