#include "integrations/cli/mcp_workbench.h"

#include <fmt/format.h>

#include <map>

#include "integrations/cli/contenders.h"
#include "integrations/cli/solution_profile.h"

namespace fib {

namespace {

// A family's instances differ by their const axes: what compiles for a few compiles for most.
constexpr size_t kMostBuilds = 4;

// How far a measurement is, as a share of its own: what a client is told has to grow.
double stage_share(const std::string& stage) {
  static const std::map<std::string, double> kShares = {{"build", 0.05},  {"reference", 0.2},
                                                        {"measure", 0.4}, {"pair", 0.6},
                                                        {"confirm", 0.8}, {"counters", 0.05}};
  const auto share = kShares.find(stage);
  return share == kShares.end() ? 0.0 : share->second;
}

// `more`: what is to be done behind the measurements, counted as so many of them.
EvaluationWatch watch_of(const mcp::ToolCall& call, int64_t more = 0) {
  return {.on_progress =
              [&call, more](const EvaluationProgress& now) {
                call.on_progress({.done = static_cast<double>(now.done) + stage_share(now.stage),
                                  .total = static_cast<double>(now.total + more),
                                  .message = fmt::format("{}: {}", now.stage, now.label)});
              },
          .cancelled = call.cancelled};
}

class CommandWorkbench : public mcp::Workbench {
 public:
  CommandWorkbench(const Context& context, Catalog catalog)
      : context_(context), catalog_(std::move(catalog)) {}

  const Catalog& catalog() const override { return catalog_; }

  Result<Solution> find_solution(const std::string& name) override {
    return find_known_solution(context_, name);
  }

  Result<std::vector<mcp::BuildReport>> check(const Solution& solution,
                                              const std::string& signature) override {
    const SubmissionScope scope =
        FIB_TRY(submission_scope(context_, solution, SubmissionArgs{.signature = signature}));
    const std::string architecture = build_architecture(*scope.runner);
    std::vector<mcp::BuildReport> reports;
    for (const SignaturePtr& fitting : scope.signatures) {
      if (reports.size() == kMostBuilds) break;
      const BuildOutcome outcome = FIB_TRY(scope.runner->build(
          {.solution = solution, .signature = *fitting, .architecture = architecture}));
      mcp::BuildReport report{.signature = fitting->name,
                              .architecture = architecture,
                              .compiles = outcome.artifact != nullptr,
                              .timed_out = outcome.timed_out,
                              .log = outcome.failure_log};
      if (outcome.artifact) {
        report.from_cache = outcome.artifact->from_cache;
        report.build_ms = outcome.artifact->build_ms;
        report.log = outcome.artifact->log;
      }
      reports.push_back(std::move(report));
    }
    return reports;
  }

  Result<mcp::EvaluationReport> evaluate(const mcp::EvaluationRequest& request,
                                         const mcp::ToolCall& call) override {
    SubmissionArgs args{.signature = request.signature,
                        .against = FIB_TRY(known_incumbent(request.incumbent))};
    args.workloads.limit = request.limit;
    args.measure.is_quick = request.is_quick;
    args.measure.is_forced = request.is_forced;
    const EvaluationTotals totals =
        FIB_TRY(measure_submission(context_, request.solution, args, watch_of(call)));
    const auto store = FIB_TRY(Store::open(context_.store_file));
    mcp::EvaluationReport report{
        .pairs = totals.pairs, .errors = totals.errors, .is_interrupted = totals.is_interrupted};
    for (const int64_t id : totals.ids) report.verdicts.push_back(FIB_TRY(store->get(id)));
    return report;
  }

  Result<mcp::ProfileReport> profile(const mcp::ProfileRequest& request,
                                     const mcp::ToolCall& call) override {
    using Counters = ProfileOptions::Counters;
    ProfileOptions options{
        .submission = {.signature = request.signature,
                       .against = FIB_TRY(known_incumbent(request.parent))},
        .counters = request.wants_counters ? Counters::kRead : Counters::kLeaveOut,
        .watch = watch_of(call, request.wants_counters ? 1 : 0)};
    options.submission.workloads.limit = request.limit;
    options.submission.measure.is_quick = true;
    SolutionProfile profile = FIB_TRY(profile_solution(context_, request.solution, options));
    mcp::ProfileReport report{.feedback = std::move(profile.feedback),
                              .counters_reason = std::move(profile.counters_reason),
                              .counters_missing = std::move(profile.counters_missing),
                              .verdicts = std::move(profile.totals.ids),
                              .errors = std::move(profile.totals.errors),
                              .is_interrupted = profile.totals.is_interrupted};
    if (profile.trouble) report.errors.push_back(*std::move(profile.trouble));
    return report;
  }

  Result<std::vector<BoardRow>> board(const std::string& signature) override {
    if (!std::filesystem::exists(context_.store_file)) return std::vector<BoardRow>{};
    return FIB_TRY(Store::open(context_.store_file))->board(signature);
  }

  Result<Verdict> verdict(int64_t id) override {
    if (!std::filesystem::exists(context_.store_file)) {
      return fail(ErrorCode::kNotFound, "there are no verdicts yet", "", "'submit' makes some");
    }
    return FIB_TRY(Store::open(context_.store_file))->get(id);
  }

 private:
  // A client names solutions, not files of this machine: a name goes on as the key of what it
  // means.
  Result<std::string> known_incumbent(const std::string& who) const {
    if (who.empty() || who == kHouse || who == kBest) return who;
    const Solution solution = FIB_TRY(find_known_solution(context_, who));
    const auto store = FIB_TRY(Store::open(context_.store_file));
    FIB_CHECK(store->add_solution(solution));
    return solution_key(solution);
  }

  const Context context_;
  const Catalog catalog_;
};

}  // namespace

Result<std::unique_ptr<mcp::Workbench>> make_mcp_workbench(const Context& context) {
  return std::make_unique<CommandWorkbench>(context, FIB_TRY(open_catalog(context)));
}

}  // namespace fib
