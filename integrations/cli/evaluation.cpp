#include "integrations/cli/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <ostream>
#include <random>
#include <thread>

#include "integrations/cli/interrupt.h"
#include "integrations/cli/text.h"
#include "integrations/cli/verdict_stream.h"
#include "workloads/workload_set.h"

namespace fib {

namespace {

Result<std::vector<TimingMode>> parse_modes(const std::string& text) {
  std::vector<TimingMode> modes;
  for (const std::string& name : split(text, ',')) {
    if (name == "cold") {
      modes.push_back(TimingMode::kCold);
    } else if (name == "warm") {
      modes.push_back(TimingMode::kWarm);
    } else if (name == "graph") {
      modes.push_back(TimingMode::kGraph);
    } else {
      return fail(ErrorCode::kInvalidInput, fmt::format("there is no timing mode '{}'", name),
                  "--modes", "any of cold, warm, graph, with commas between them");
    }
  }
  if (std::find(modes.begin(), modes.end(), TimingMode::kCold) == modes.end()) {
    return fail(ErrorCode::kInvalidInput, "cold is what ranks and can't be left out", "--modes",
                "for example cold,warm");
  }
  std::sort(modes.begin(), modes.end());
  modes.erase(std::unique(modes.begin(), modes.end()), modes.end());
  return modes;
}

Result<void> parse_samples(const std::string& text, MeasureConfig& config) {
  int end = 0;
  if (std::sscanf(text.c_str(), "%d:%d%n", &config.min_samples, &config.max_samples, &end) != 2 ||
      static_cast<size_t>(end) != text.size() || config.min_samples < 1 ||
      config.max_samples < config.min_samples) {
    return fail(ErrorCode::kInvalidInput, fmt::format("'{}' is no range of samples", text),
                "--samples", "MIN:MAX with 1 <= MIN <= MAX, as 20:200");
  }
  return {};
}

VerdictKey key_of(const EvaluationJob& job, const Problem& problem, const DeviceInfo& device,
                  const EvaluationOptions& options) {
  return {.solution_key = solution_key(job.solution),
          .signature = problem.signature->name,
          .workload = workload_id(problem.workload),
          .hardware = device.key,
          .config_key = options.config_key(*problem.signature),
          .incumbent_key = job.incumbent ? solution_key(*job.incumbent) : ""};
}

// Takes out of `jobs` what the store has already, and returns those verdicts.
Result<std::vector<int64_t>> take_stored(const Store& store, const DeviceInfo& device,
                                         EvaluationPlan& plan) {
  std::vector<int64_t> stored;
  for (EvaluationJob& job : plan.jobs) {
    std::vector<Problem> remaining;
    for (Problem& problem : job.problems) {
      const VerdictKey key = key_of(job, problem, device, plan.options);
      if (const auto id = FIB_TRY(store.find(key))) {
        stored.push_back(*id);
      } else {
        remaining.push_back(std::move(problem));
      }
    }
    job.problems = std::move(remaining);
  }
  std::erase_if(plan.jobs, [](const EvaluationJob& job) { return job.problems.empty(); });
  return stored;
}

}  // namespace

void add_measure_options(CLI::App& app, MeasureArgs& args) {
  app.add_option("--device,--devices", args.devices, "Device indices, or all")
      ->type_name("N,...|all");
  app.add_option("--modes", args.modes, "cold, warm, graph; cold is what ranks")->type_name("LIST");
  app.add_option("--samples", args.samples, "Samples a timing mode")->type_name("MIN:MAX");
  app.add_flag("--quick", args.is_quick,
               "One value set, few cold samples: for trying out; ranked apart");
  app.add_option("--seed", args.seed, "Of inputs and addresses; drawn afresh if left out");
  app.add_option("--threads", args.threads, "For references and compiles; default: all processors")
      ->check(CLI::PositiveNumber);
  app.add_flag("--force", args.is_forced, "Measure again what the store has already");
}

Result<EvaluationOptions> evaluation_options(const MeasureArgs& args) {
  EvaluationOptions options;
  MeasureConfig& measure = options.measure;
  measure.modes = FIB_TRY(parse_modes(args.modes));
  if (args.is_quick) {
    measure.modes = {TimingMode::kCold};
    measure.value_sets = 1;
    measure.min_samples = 5;
    measure.max_samples = 20;
    measure.max_seconds_per_mode = 0.2;
  }
  if (!args.samples.empty()) FIB_CHECK(parse_samples(args.samples, measure));
  // A secret that no candidate can foresee; whoever needs the same inputs again gives --seed.
  std::random_device entropy;
  measure.seed = args.seed.value_or((uint64_t{entropy()} << 32) | entropy());
  options.threads = args.threads > 0
                        ? args.threads
                        : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return options;
}

BoundProblems bind_workloads(const SignaturePtr& signature,
                             const std::vector<Workload>& workloads) {
  BoundProblems bound;
  for (const Workload& workload : workloads) {
    auto problem = bind(signature, workload);
    if (problem) {
      bound.problems.push_back(*std::move(problem));
    } else {
      bound.errors.push_back(problem.error());
    }
  }
  return bound;
}

Result<std::vector<Workload>> choose_workloads(const Context& context, const Signature& signature,
                                               const WorkloadChoice& choice) {
  std::vector<Workload> workloads;
  if (choice.path.empty()) {
    workloads = FIB_TRY(builtin_workloads(context.home.workloads(), signature));
  } else {
    for (WorkloadSet& set : FIB_TRY(read_workloads(choice.path, signature.name))) {
      std::move(set.workloads.begin(), set.workloads.end(), std::back_inserter(workloads));
    }
  }
  if (workloads.empty()) {
    return fail(ErrorCode::kNotFound, fmt::format("no workloads of {}", signature.name),
                choice.path.empty() ? context.home.workloads().string() : choice.path.string(),
                "name a .jsonl file or a dataset that has some with --workloads");
  }
  if (!choice.id.empty()) {
    std::erase_if(workloads, [&](const Workload& workload) {
      return !workload_id(workload).starts_with(choice.id);
    });
    if (workloads.empty()) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} has no workload '{}'", signature.name, choice.id), "--workload",
                  fmt::format("'fib workload list {}' names them", signature.name));
    }
  }
  if (choice.limit > 0 && static_cast<int64_t>(workloads.size()) > choice.limit) {
    workloads.resize(static_cast<size_t>(choice.limit));
  }
  return workloads;
}

std::vector<PairGroup> group_by_signature(const std::vector<PairedRecord>& pairs) {
  std::map<std::string, PairGroup> groups;
  for (const PairedRecord& record : pairs) groups[record.signature].records.push_back(record);
  std::vector<PairGroup> list;
  for (auto& [signature, group] : groups) {
    group.summary = summarise_pairs(group.records);
    list.push_back(std::move(group));
  }
  return list;
}

int EvaluationTotals::exit_code() const {
  if (is_interrupted) return kExitInterrupted;
  if (passed != verdicts()) return kExitNotPassed;
  return errors.empty() ? kExitPassed : exit_code_of(errors.front().code);
}

Json EvaluationTotals::to_json() const {
  Json error_list = Json::array();
  for (const Error& error : errors) error_list.push_back(error_to_json(error));
  Json pair_list = Json::array();
  for (const auto& [records, summary] : group_by_signature(pairs)) {
    const PairedRecord& any = records.front();
    pair_list.push_back({{"candidate", any.candidate},
                         {"incumbent", any.incumbent},
                         {"signature", any.signature},
                         {"hardware", any.hardware},
                         {"speedup", summary.speedup},
                         {"speedup_low", summary.speedup_low},
                         {"speedup_high", summary.speedup_high},
                         {"workloads", summary.workloads},
                         {"faster", summary.faster},
                         {"confirmed", summary.confirmed},
                         {"slower", summary.slower},
                         {"same", summary.same},
                         {"ambiguous", summary.ambiguous}});
  }
  return {{"verdicts", verdicts()},       {"passed", passed},
          {"measured", measured},         {"stored_before", stored_before},
          {"first_id", first_id},         {"last_id", last_id},
          {"pairs", pair_list},           {"errors", error_list},
          {"interrupted", is_interrupted}};
}

Result<EvaluationTotals> evaluate_and_store(const Context& context, Store& store,
                                            EvaluationPlan plan) {
  std::vector<const Problem*> problems;
  for (const EvaluationJob& job : plan.jobs) {
    for (const Problem& problem : job.problems) problems.push_back(&problem);
  }
  VerdictStream stream(context, problems);
  ProgressLine progress(context.err, context.interactivity);
  EvaluationTotals totals;

  progress.show("starting");
  bool has_incumbents = false;
  for (const EvaluationJob& job : plan.jobs) {
    if (!job.incumbent) continue;
    FIB_CHECK(store.add_solution(*job.incumbent));
    has_incumbents = true;
  }
  const auto note_pair = [&](const Verdict& verdict) {
    const auto pair = paired_record_of(verdict);
    if (has_incumbents && pair) totals.pairs.push_back(*pair);
  };
  if (!plan.is_forced && !plan.devices.empty()) {
    for (int64_t id : FIB_TRY(take_stored(store, plan.devices.front(), plan))) {
      const Verdict verdict = FIB_TRY(store.get(id));
      note_pair(verdict);
      totals.ids.push_back(id);
      ++totals.stored_before;
      if (verdict.status == VerdictStatus::kPassed) ++totals.passed;
      progress.clear();
      if (plan.stored == StoredVerdicts::kPrint) stream.print(verdict);
    }
  }

  const InterruptGuard interrupt;
  EvaluationHooks hooks;
  hooks.on_verdict = [&](Verdict verdict, const Solution& solution,
                         const Problem& problem) -> Result<void> {
    // Stored first: what is printed is there to stay.
    verdict.id = FIB_TRY(store.add(verdict, solution, problem.workload));
    totals.ids.push_back(verdict.id);
    ++totals.measured;
    if (verdict.status == VerdictStatus::kPassed) ++totals.passed;
    if (totals.first_id == 0) totals.first_id = verdict.id;
    totals.last_id = verdict.id;
    note_pair(verdict);
    progress.clear();
    stream.print(verdict);
    return {};
  };
  hooks.on_progress = [&](const EvaluationProgress& now) {
    progress.show(fmt::format("[{}/{}] {}: {}", now.done, now.total, now.stage, now.label));
    if (plan.watch.on_progress) plan.watch.on_progress(now);
  };
  const auto is_stopped = [&] {
    return interrupt.requested() || (plan.watch.cancelled && plan.watch.cancelled());
  };
  hooks.cancelled = is_stopped;

  ExpectedCache expected(context.cache_folder / kExpectedFolder, kExpectedDiskBytes,
                         kExpectedMemoryBytes);
  EvaluationSummary summary =
      FIB_TRY(evaluate(plan.runner, plan.devices, plan.jobs, expected, plan.options, hooks));
  totals.errors = std::move(summary.errors);
  totals.is_interrupted = is_stopped();
  return totals;
}

}  // namespace fib
