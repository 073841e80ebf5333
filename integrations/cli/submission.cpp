#include "integrations/cli/submission.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <ostream>
#include <stdexcept>

#include "integrations/cli/contenders.h"
#include "integrations/cli/instances.h"
#include "integrations/cli/runners.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "signatures/solution_folder.h"

namespace fib {

namespace {

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

// The traffic-weighted mean over the workloads of each signature.
void print_pairs(const Context& context, const std::vector<PairedRecord>& pairs) {
  const Style& style = context.out_style;
  for (const auto& [records, summary] : group_by_signature(pairs)) {
    const PairedRecord& any = records.front();
    std::string results;
    const auto add = [&](int64_t count, std::string_view result) {
      if (count == 0) return;
      results += fmt::format("{}{} {}", results.empty() ? "" : ", ", count, result);
    };
    add(summary.faster, "FASTER");
    add(summary.slower, "SLOWER");
    add(summary.same, "SAME");
    add(summary.ambiguous, "AMBIGUOUS");
    context.out << fmt::format(
        "{} against {} on {}: {} over {}: {}\n", any.candidate, any.incumbent, any.signature,
        style.bold(format_speedup(summary.speedup, summary.speedup_low, summary.speedup_high)),
        counted(summary.workloads, "workload"), results);
  }
}

}  // namespace

void add_submission_options(CLI::App& command, SubmissionArgs& args) {
  command.add_option("--signature", args.signature,
                     "Judge it on this signature only; default: all that it is written for, but on "
                     "the cpu only the small ones of a family");
  command.add_flag("--all-instances", args.takes_all_instances,
                   "All that it is written for, also the large ones on the cpu");
  command
      .add_option("--workloads", args.workloads.path,
                  "A .jsonl file or a dataset instead of the built-in workloads")
      ->type_name("FILE|DIR");
  command.add_option("--workload", args.workloads.id, "Only the workload whose id begins so")
      ->type_name("ID");
  command.add_option("--limit", args.workloads.limit, "At most so many workloads a signature")
      ->check(CLI::PositiveNumber);
  add_measure_options(command, args.measure);
}

Result<SubmissionScope> submission_scope(const Context& context, const Solution& solution,
                                         const SubmissionArgs& args) {
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  if (!args.target.empty() && args.target != manifest.target) {
    return fail(
        ErrorCode::kInvalidInput,
        fmt::format("solution '{}' is written for target '{}'", solution.name, manifest.target),
        "--target", "leave the option out");
  }
  const Catalog catalog = FIB_TRY(open_catalog(context, args.workloads.path));
  SubmissionScope scope{
      .runners = make_runners(context),
      .signatures = FIB_TRY(choose_signatures(catalog, solution, args.signature))};
  const auto runner = std::ranges::find(scope.runners, manifest.target,
                                        [](const auto& it) { return it->target(); });
  // A manifest has no other targets than the runners serve.
  if (runner == scope.runners.end()) throw std::logic_error("no runner for " + manifest.target);
  scope.runner = runner->get();
  if (args.leaves_instances_open()) {
    auto chosen = default_instances(solution, *scope.runner, scope.signatures);
    if (chosen.size() < scope.signatures.size()) {
      scope.note = instances_note(solution, chosen, "--signature");
    }
    scope.signatures = std::move(chosen);
  }
  return scope;
}

Result<EvaluationTotals> measure_submission(const Context& context, const Solution& solution,
                                            const SubmissionArgs& args, EvaluationWatch watch) {
  const EvaluationOptions options = FIB_TRY(evaluation_options(args.measure));
  const SubmissionScope scope = FIB_TRY(submission_scope(context, solution, args));
  if (!scope.note.empty()) context.err << scope.note << "\n";
  Runner& runner = *FIB_TRY(find_runner(scope.runners, scope.runner->target()));
  std::vector<EvaluationJob> jobs;
  std::vector<Error> errors, without_workloads;
  for (const SignaturePtr& signature : scope.signatures) {
    if (const Support support = runner.supports(solution, *signature); !support.ok) {
      errors.push_back(
          {ErrorCode::kUnsupported,
           fmt::format("target '{}' can't run it: {}", runner.target(), support.reason),
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
    for (const std::string& note : drop_too_large(devices, options.measure.value_sets, jobs)) {
      context.err << note << "\n";
    }
    if (jobs.empty()) {
      return fail(ErrorCode::kResourceExhausted, "no workload fits the device's memory",
                  solution.definition, "name workloads of your own with --workloads");
    }
  }
  if (!args.against.empty()) {
    find_incumbents({.context = context,
                     .runner = runner,
                     .hardware = devices.front().key,
                     .options = options,
                     .who = args.against},
                    jobs, errors);
    if (jobs.empty()) return fail(errors.front());
  }
  const auto store = FIB_TRY(Store::open(context.store_file));
  EvaluationTotals totals = FIB_TRY(evaluate_and_store(context, *store,
                                                       {.runner = runner,
                                                        .devices = std::move(devices),
                                                        .jobs = std::move(jobs),
                                                        .options = options,
                                                        .is_forced = args.measure.is_forced,
                                                        .watch = std::move(watch)}));
  std::move(errors.begin(), errors.end(), std::back_inserter(totals.errors));
  return totals;
}

Result<int> run_submission(const Context& context, const Solution& solution,
                           const SubmissionArgs& args) {
  const EvaluationTotals totals = FIB_TRY(measure_submission(context, solution, args));
  if (context.json()) {
    print_json_line(context, Json{{"summary", totals.to_json()}});
  } else {
    print_summary(context, totals);
    print_pairs(context, totals.pairs);
    if (args.against.empty() && totals.verdicts() > 0 && totals.exit_code() == kExitPassed) {
      const std::string hint = "--against best times it side by side with the leader";
      context.out << context.out_style.dim(hint) << "\n";
    }
  }
  return totals.exit_code();
}

}  // namespace fib
