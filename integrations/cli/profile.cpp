// fib profile: what is told to whoever searches for a better kernel, for people.

#include <fmt/format.h>

#include <ostream>

#include "agents/feedback/feedback.h"
#include "agents/search/code_identity.h"
#include "agents/search/judgement.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/contenders.h"
#include "integrations/cli/counters.h"
#include "integrations/cli/runners.h"

namespace fib {

namespace {

constexpr size_t kMostBytes = 64 << 10;
constexpr size_t kMostMissing = 8;  // counters that are said to be missing

struct ProfileArgs {
  std::string who;
  SubmissionArgs submission;
  bool leaves_counters_out = false;
  std::filesystem::path ncu;
};

// The counters, or why there are none.
struct Counters {
  CounterReport report;
  std::string reason;
};

Counters counters_of(const Context& context, const Solution& solution, const ProfileArgs& args,
                     const std::vector<Verdict>& verdicts) {
  if (args.leaves_counters_out) return {.reason = "not asked for"};
  const Verdict* verdict = agents::most_to_gain(verdicts);
  if (verdict == nullptr) return {.reason = "no workload was right and timed"};
  if (verdict->device.target != "cuda") return {.reason = "they are read on the target cuda only"};
  auto report = read_counters({.context = context,
                               .solution = solution,
                               .submission = args.submission,
                               .verdict = *verdict,
                               .ncu = args.ncu});
  if (!report) return {.reason = report.error().to_string()};
  return {.report = *std::move(report)};
}

std::vector<agents::KernelCounters> as_feedback(const CounterReport& report) {
  std::vector<agents::KernelCounters> counters;
  for (const CounterReading& kernel : report.kernels) {
    counters.push_back({.kernel = kernel.kernel,
                        .device_bytes = kernel.device_bytes,
                        .occupancy = kernel.occupancy,
                        .theoretical_occupancy = kernel.theoretical_occupancy,
                        .bank_conflicts = kernel.bank_conflicts,
                        .stalls = kernel.stalls});
  }
  return counters;
}

// What the compiler said, and what the binary takes; from the cache, because it was just built.
Result<void> add_build(const Context& context, const Solution& solution, const ProfileArgs& args,
                       agents::FeedbackSource& source) {
  const SubmissionScope scope = FIB_TRY(submission_scope(context, solution, args.submission));
  const Verdict& verdict = source.verdicts.front();
  const auto signature =
      std::ranges::find(scope.signatures, verdict.signature,
                        [](const SignaturePtr& candidate) { return candidate->name; });
  if (signature == scope.signatures.end()) throw std::logic_error("judged on another signature");
  const BuildOutcome built =
      FIB_TRY(scope.runner->build({.solution = solution,
                                   .signature = **signature,
                                   .architecture = verdict.device.architecture}));
  source.compiles = built.artifact != nullptr;
  source.build_log = source.compiles ? built.artifact->log : built.failure_log;
  if (!source.compiles) return {};
  const auto identity = FIB_TRY(agents::code_identity(*built.artifact));
  source.behaviour =
      agents::judgement_of(source.verdicts, source.verdicts.size(), identity.behaviour).behaviour;
  return {};
}

void add_pairs(const EvaluationTotals& totals, agents::FeedbackSource& source) {
  const std::vector<PairGroup> groups = group_by_signature(totals.pairs);
  if (groups.size() != 1) return;  // of several signatures there is no one number
  const PairedSummary& summary = groups.front().summary;
  source.speedup = summary.speedup;
  source.speedup_low = summary.speedup_low;
  source.speedup_high = summary.speedup_high;
}

void print_counters_note(const Context& context, const Counters& counters) {
  if (!counters.reason.empty()) {
    context.out << context.out_style.dim("counters: not read: " + counters.reason) << "\n";
  }
  const std::vector<std::string>& missing = counters.report.missing;
  for (size_t i = 0; i < std::min(missing.size(), kMostMissing); ++i) {
    context.out << context.out_style.dim("counters: " + missing[i]) << "\n";
  }
}

Result<int> run_profile(const Context& context, const ProfileArgs& args) {
  FIB_CHECK(evaluation_options(args.submission.measure));  // before anything is read
  const Solution solution = FIB_TRY(find_solution(context, args.who));
  const EvaluationTotals totals = FIB_TRY(measure_submission(context, solution, args.submission));
  const auto store = FIB_TRY(Store::open(context.store_file));
  agents::FeedbackSource source{.solution = solution};
  for (const int64_t id : totals.ids) source.verdicts.push_back(FIB_TRY(store->get(id)));
  for (const Error& error : totals.errors) report_error(context, error);
  if (source.verdicts.empty()) return totals.exit_code();

  FIB_CHECK(add_build(context, solution, args, source));
  add_pairs(totals, source);
  std::optional<Solution> incumbent;
  if (!totals.pairs.empty()) {
    incumbent = FIB_TRY(store->solution(source.verdicts.front().incumbent_key));
    source.parent = &*incumbent;
    source.parent_record = CandidateRecord{.fate = CandidateFate::kMeasured, .speedup = 1.0};
  }
  const Counters counters = counters_of(context, solution, args, source.verdicts);
  source.counters = as_feedback(counters.report);
  const Json feedback = agents::make_feedback(source);
  if (context.json()) {
    print_json_line(
        context,
        Json{{"feedback", feedback},
             {"counters", {{"reason", counters.reason}, {"missing", counters.report.missing}}}});
  } else {
    context.out << "\n" << agents::feedback_in_words(feedback, kMostBytes);
    print_counters_note(context, counters);
  }
  return totals.exit_code();
}

}  // namespace

void add_profile_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ProfileArgs>();
  CLI::App* command = app.add_subcommand(
      "profile", "Judge a solution and say in words where its errors, time and resources go");
  command->add_option("solution", args->who, "A folder, a file, or a name or key in the store")
      ->required();
  command
      ->add_option("--against", args->submission.against,
                   "Compare its time, resources and sources with this one's: a folder, a name or "
                   "key in the store, 'house' or 'best'")
      ->type_name("WHO");
  command->add_option("--target", args->submission.target,
                      "cpu or cuda; must be the solution's own");
  add_submission_options(*command, args->submission);
  command->add_flag("--no-counters", args->leaves_counters_out,
                    "Don't read the device's counters, which takes a second, slower run");
  command->add_option("--ncu", args->ncu, "Nsight Compute's program; else it is searched")
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  command->footer(
      "Examples:\n"
      "  fib profile my-kernel --quick\n"
      "  fib profile my-kernel --against house       what did the changes do?\n"
      "  fib profile my-kernel --signature rmsnorm_h4096 --workload 7c1e --json\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_profile(context, *args); };
  });
}

}  // namespace fib
