#include "integrations/cli/solution_profile.h"

#include <algorithm>
#include <stdexcept>

#include "agents/feedback/feedback.h"
#include "agents/search/code_identity.h"
#include "integrations/cli/contenders.h"
#include "integrations/cli/counters.h"

namespace fib {

namespace {

// Where there is no card to compile for.
constexpr const char* kUsualCard = "sm_90a";

// What a compiler makes of a solution.
struct Built {
  bool compiles = false;
  std::string log;
  Behaviour behaviour;
};

// From the cache, where it was built before.
Result<Built> build(Runner& runner, const Solution& solution, const Signature& signature) {
  const BuildOutcome outcome = FIB_TRY(runner.build(
      {.solution = solution, .signature = signature, .architecture = build_architecture(runner)}));
  if (!outcome.artifact) return Built{.log = outcome.failure_log};
  return Built{.compiles = true,
               .log = outcome.artifact->log,
               .behaviour = FIB_TRY(agents::code_identity(*outcome.artifact)).behaviour};
}

// No device, not enough of it: what the build says is worth knowing all the same.
bool is_of_this_machine(const Error& error) {
  return error.code == ErrorCode::kEnvironment || error.code == ErrorCode::kUnsupported ||
         error.code == ErrorCode::kResourceExhausted;
}

bool is_cancelled(const EvaluationWatch& watch) { return watch.cancelled && watch.cancelled(); }

// One profile in the making.
class Profiler {
 public:
  Profiler(const Context& context, const Solution& solution, const ProfileOptions& options,
           SubmissionScope scope)
      : context_(context), options_(options), scope_(std::move(scope)), source_{solution} {}

  Result<SolutionProfile> run() {
    FIB_CHECK(look_at(*scope_.signatures.front()));
    if (source_.compiles) {
      FIB_CHECK(measure());
    } else {
      profile_.counters_reason = "it doesn't compile";
    }
    if (parent_) source_.parent = &*parent_;
    profile_.feedback = agents::make_feedback(source_);
    return std::move(profile_);
  }

 private:
  // What is known of it and of its parent before anything runs.
  Result<void> look_at(const Signature& signature) {
    parent_ = FIB_TRY(find_parent(signature));
    const Built built = FIB_TRY(build(*scope_.runner, source_.solution, signature));
    source_.compiles = built.compiles;
    source_.build_log = built.log;
    source_.behaviour = built.behaviour;
    if (!parent_) return {};
    // A parent that doesn't build has no resources; that it is to blame is not the child's news.
    if (const auto parent = build(*scope_.runner, *parent_, signature)) {
      source_.parent_behaviour = parent->behaviour;
    }
    return {};
  }

  Result<std::optional<Solution>> find_parent(const Signature& signature) const {
    const SubmissionArgs& args = options_.submission;
    if (args.against.empty()) return std::nullopt;
    const EvaluationOptions options = FIB_TRY(evaluation_options(args.measure));
    const std::vector<DeviceInfo> devices = scope_.runner->devices();
    const std::string hardware = devices.empty() ? "" : devices.front().key;
    return FIB_TRY(find_incumbent({.context = context_,
                                   .runner = *scope_.runner,
                                   .hardware = hardware,
                                   .options = options,
                                   .who = args.against},
                                  source_.solution, signature));
  }

  Result<void> measure() {
    auto totals =
        measure_submission(context_, source_.solution, options_.submission, options_.watch);
    if (!totals && is_of_this_machine(totals.error())) {
      profile_.counters_reason = "it could not be measured";
      profile_.trouble = std::move(totals).error();
      return {};
    }
    profile_.totals = FIB_TRY(std::move(totals));
    const auto store = FIB_TRY(Store::open(context_.store_file));
    for (const int64_t id : profile_.totals.ids) {
      source_.verdicts.push_back(FIB_TRY(store->get(id)));
    }
    FIB_CHECK(add_verdicts());
    read_counters_of_most_to_gain();
    return {};
  }

  // What was judged may be another instance than was looked at.
  Result<void> add_verdicts() {
    if (source_.verdicts.empty()) return {};
    const std::string& name = source_.verdicts.front().signature;
    if (name != scope_.signatures.front()->name) {
      const auto judged = std::ranges::find(
          scope_.signatures, name, [](const SignaturePtr& signature) { return signature->name; });
      if (judged == scope_.signatures.end()) throw std::logic_error("judged on another signature");
      FIB_CHECK(look_at(**judged));
    }
    const auto refused = std::ranges::find(source_.verdicts, VerdictStatus::kCompileError,
                                           [](const Verdict& verdict) { return verdict.status; });
    if (refused != source_.verdicts.end()) {
      source_.compiles = false;
      source_.build_log = refused->log;
    }
    const std::vector<PairGroup> groups = group_by_signature(profile_.totals.pairs);
    if (groups.size() != 1) return {};  // of several signatures there is no one number
    const PairedSummary& summary = groups.front().summary;
    source_.speedup = summary.speedup;
    source_.speedup_low = summary.speedup_low;
    source_.speedup_high = summary.speedup_high;
    source_.parent_record = CandidateRecord{.fate = CandidateFate::kMeasured,
                                            .speedup = 1.0,  // it is the baseline
                                            .behaviour = source_.parent_behaviour};
    return {};
  }

  void read_counters_of_most_to_gain() {
    std::string& reason = profile_.counters_reason;
    if (options_.counters == ProfileOptions::Counters::kLeaveOut) {
      reason = "not asked for";
      return;
    }
    const Verdict* verdict = agents::most_to_gain(source_.verdicts);
    if (verdict == nullptr) {
      reason = "no workload was right and timed";
    } else if (verdict->device.target != "cuda") {
      reason = "they are read on the target cuda only";
    } else if (profile_.totals.is_interrupted || is_cancelled(options_.watch)) {
      reason = "interrupted";
    } else {
      read_counters_of(*verdict);
    }
  }

  void read_counters_of(const Verdict& verdict) {
    if (options_.watch.on_progress) {
      const int64_t judged = profile_.totals.verdicts();
      options_.watch.on_progress({.stage = "counters",
                                  .label = source_.solution.name + " " + verdict.signature,
                                  .done = judged,
                                  .total = judged});
    }
    auto report = read_counters({.context = context_,
                                 .solution = source_.solution,
                                 .submission = options_.submission,
                                 .verdict = verdict,
                                 .ncu = options_.ncu,
                                 .cancelled = options_.watch.cancelled});
    if (!report) {
      profile_.counters_reason = report.error().to_string();
      return;
    }
    profile_.counters_missing = std::move(report->missing);
    for (const CounterReading& kernel : report->kernels) {
      source_.counters.push_back({.kernel = kernel.kernel,
                                  .device_bytes = kernel.device_bytes,
                                  .occupancy = kernel.occupancy,
                                  .theoretical_occupancy = kernel.theoretical_occupancy,
                                  .bank_conflicts = kernel.bank_conflicts,
                                  .stalls = kernel.stalls});
    }
  }

  const Context& context_;
  const ProfileOptions& options_;
  const SubmissionScope scope_;
  agents::FeedbackSource source_;
  std::optional<Solution> parent_;
  SolutionProfile profile_;
};

}  // namespace

int SolutionProfile::exit_code() const {
  if (trouble) return exit_code_of(trouble->code);
  const bool compiles = totals.verdicts() > 0 || feedback.at("outcome") != "compile-error";
  return compiles ? totals.exit_code() : kExitNotPassed;
}

Result<SolutionProfile> profile_solution(const Context& context, const Solution& solution,
                                         const ProfileOptions& options) {
  FIB_CHECK(evaluation_options(options.submission.measure));  // before anything is built
  SubmissionScope scope = FIB_TRY(submission_scope(context, solution, options.submission));
  return Profiler(context, solution, options, std::move(scope)).run();
}

std::string build_architecture(const Runner& runner) {
  const std::vector<DeviceInfo> devices = runner.devices();
  return devices.empty() ? kUsualCard : devices.front().architecture;
}

}  // namespace fib
