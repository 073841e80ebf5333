// fib submit: one solution, compiled, checked, timed and stored.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/evaluation.h"
#include "integrations/cli/instances.h"
#include "integrations/cli/runners.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "signatures/solution_folder.h"

namespace fib {

namespace {

struct SubmitArgs {
  std::filesystem::path path;
  std::string signature, target;
  bool takes_all_instances = false;
  WorkloadChoice workloads;
  MeasureArgs measure;

  // Whoever names a signature, or a file of workloads, has said what is meant.
  bool leaves_instances_open() const {
    return signature.empty() && workloads.path.empty() && !takes_all_instances;
  }
};

// The signatures that a solution is to be judged on: the one asked for, the one it names, or all
// the instances of the family that it names.
Result<std::vector<SignaturePtr>> choose_signatures(const Catalog& catalog,
                                                    const Solution& solution,
                                                    const std::string& asked) {
  if (!asked.empty()) {
    const SignaturePtr signature = FIB_TRY(catalog.find(asked));
    if (!solution_fits(solution, *signature)) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("solution '{}' is for {}, not for {}", solution.name,
                              solution.definition, asked),
                  "--signature", "leave the option out, or change \"signature\" in solution.json");
    }
    return std::vector{signature};
  }
  std::vector<SignaturePtr> fitting;
  for (const SignaturePtr& signature : catalog.all()) {
    if (solution_fits(solution, *signature)) fitting.push_back(signature);
  }
  // An instance that no family lists is made on the fly; its error names the nearest ones.
  if (fitting.empty()) fitting.push_back(FIB_TRY(catalog.find(solution.definition)));
  return fitting;
}

void print_summary(const Context& context, const EvaluationTotals& totals) {
  const Style& style = context.out_style;
  for (const Error& error : totals.errors) report_error(context, error);
  const bool all_passed = totals.passed == totals.verdicts();
  const std::string count = fmt::format("{} of {} passed", totals.passed, totals.verdicts());
  context.out << "\n" << (all_passed ? style.green(count) : style.red(count));
  if (totals.measured > 0) {
    context.out << fmt::format(
        ", stored in {} as {}", context.store_file.string(),
        totals.first_id == totals.last_id
            ? fmt::format("verdict {}", totals.first_id)
            : fmt::format("verdicts {}-{}", totals.first_id, totals.last_id));
  }
  context.out << "\n";
  if (totals.stored_before > 0) {
    context.out << style.dim(fmt::format("{} from the store; --force measures them again",
                                         counted(totals.stored_before, "verdict")))
                << "\n";
  }
  if (totals.is_interrupted) {
    context.out << style.yellow("interrupted; the same command goes on from here") << "\n";
  }
}

Result<int> run_submit(const Context& context, const SubmitArgs& args) {
  EvaluationOptions options = FIB_TRY(evaluation_options(args.measure));
  const Solution solution = FIB_TRY(read_solution(args.path));
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  if (!args.target.empty() && args.target != manifest.target) {
    return fail(
        ErrorCode::kInvalidInput,
        fmt::format("solution '{}' is written for target '{}'", solution.name, manifest.target),
        "--target", "leave the option out");
  }
  const Catalog catalog = FIB_TRY(open_catalog(context, args.workloads.path));
  auto signatures = FIB_TRY(choose_signatures(catalog, solution, args.signature));
  const auto runners = make_runners(context);
  Runner& runner = *FIB_TRY(find_runner(runners, manifest.target));
  if (args.leaves_instances_open()) {
    auto chosen = default_instances(solution, runner, signatures);
    if (chosen.size() < signatures.size()) {
      context.err << instances_note(solution, chosen, "--signature") << "\n";
    }
    signatures = std::move(chosen);
  }

  std::vector<EvaluationJob> jobs;
  std::vector<Error> errors, without_workloads;
  for (const SignaturePtr& signature : signatures) {
    if (const Support support = runner.supports(solution, *signature); !support.ok) {
      errors.push_back(
          {ErrorCode::kUnsupported,
           fmt::format("target '{}' can't run it: {}", manifest.target, support.reason),
           signature->name, support.remedy});
      continue;
    }
    auto workloads = choose_workloads(context, *signature, args.workloads);
    if (!workloads) {
      // An instance of a family may have none; it matters only where none has any.
      const bool is_missing = workloads.error().code == ErrorCode::kNotFound;
      (is_missing ? without_workloads : errors).push_back(workloads.error());
      continue;
    }
    BoundProblems bound = bind_workloads(signature, *workloads);
    std::move(bound.errors.begin(), bound.errors.end(), std::back_inserter(errors));
    if (!bound.problems.empty()) jobs.push_back({solution, std::move(bound.problems)});
  }
  if (jobs.empty()) return fail(errors.empty() ? without_workloads.front() : errors.front());

  std::vector<DeviceInfo> devices = FIB_TRY(parse_devices(runner, args.measure.devices));
  if (args.signature.empty()) {
    for (const std::string& note :
         drop_too_large(devices, options.measure.value_sets, jobs)) {
      context.err << note << "\n";
    }
    if (jobs.empty()) {
      return fail(ErrorCode::kResourceExhausted, "no workload fits the device's memory",
                  solution.definition, "name workloads of your own with --workloads");
    }
  }
  const auto store = FIB_TRY(Store::open(context.store_file));
  EvaluationTotals totals = FIB_TRY(evaluate_and_store(context, *store,
                                                       {.runner = runner,
                                                        .devices = std::move(devices),
                                                        .jobs = std::move(jobs),
                                                        .options = options,
                                                        .is_forced = args.measure.is_forced}));
  std::move(errors.begin(), errors.end(), std::back_inserter(totals.errors));
  if (context.json()) {
    print_json_line(context, Json{{"summary", totals.to_json()}});
  } else {
    print_summary(context, totals);
  }
  return totals.exit_code();
}

}  // namespace

void add_submit_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<SubmitArgs>();
  CLI::App* command =
      app.add_subcommand("submit", "Compile, check and time a solution; store the verdicts");
  command->add_option("path", args->path, "Solution folder, or a Solution JSON file")->required();
  command->add_option(
      "--signature", args->signature,
      "Judge it on this signature only; default: all that it is written for, but on "
      "the cpu only the small ones of a family");
  command->add_flag("--all-instances", args->takes_all_instances,
                    "All that it is written for, also the large ones on the cpu");
  command->add_option("--target", args->target, "cpu or cuda; must be the solution's own");
  command
      ->add_option("--workloads", args->workloads.path,
                   "A .jsonl file or a dataset instead of the built-in workloads")
      ->type_name("FILE|DIR");
  command->add_option("--limit", args->workloads.limit, "At most so many workloads a signature")
      ->check(CLI::PositiveNumber);
  add_measure_options(*command, args->measure);
  command->footer(
      "Examples:\n"
      "  fib submit my-kernel\n"
      "  fib submit my-kernel --quick --limit 3\n"
      "  fib submit my-kernel --all-instances\n"
      "  fib submit my-kernel --signature rmsnorm_h4096 --workloads traffic.jsonl --json\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_submit(context, *args); };
  });
}

}  // namespace fib
