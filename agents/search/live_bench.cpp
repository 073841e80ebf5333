#include "agents/search/live_bench.h"

#include <fmt/format.h>

#include <chrono>
#include <mutex>

#include "agents/search/code_identity.h"
#include "agents/search/judgement.h"
#include "agents/search/quiet_host.h"
#include "agents/search/race.h"
#include "agents/search/screening.h"
#include "harness/judge.h"
#include "harness/paired_session.h"
#include "harness/solo_session.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib::agents {
namespace {

using std::chrono::steady_clock;

// Of explicit inputs (page tables, routing) that stay in memory between candidates.
constexpr size_t kPosedBytes = size_t{1} << 30;

constexpr size_t kMaxPath = 200;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

size_t explicit_bytes(const PosedProblem& posed) {
  size_t bytes = 0;  // all value sets share them
  for (const InputValue& value : posed.value_sets.front().values) {
    if (const auto* content = std::get_if<InputBytes>(&value.source)) bytes += (*content)->size();
  }
  return bytes;
}

// The problems with their inputs, drawn once for all candidates as far as memory goes.
class PosedProblems {
 public:
  PosedProblems(std::vector<Problem> problems, MeasureConfig config)
      : problems_(std::move(problems)), config_(std::move(config)), kept_(problems_.size()) {}

  const std::vector<Problem>& problems() const { return problems_; }

  // All of them, as long as whoever asked holds them.
  Result<std::vector<PosedPtr>> all() {
    std::vector<PosedPtr> all;
    for (size_t i = 0; i < problems_.size(); ++i) all.push_back(FIB_TRY(get(i)));
    return all;
  }

  Result<PosedPtr> get(size_t index) {
    const std::lock_guard lock(mutex_);
    if (kept_[index]) return kept_[index];
    const PosedPtr posed = FIB_TRY(pose(problems_[index], config_));
    const size_t bytes = explicit_bytes(*posed);
    if (bytes <= room_) {
      room_ -= bytes;
      kept_[index] = posed;
    }
    return posed;
  }

 private:
  const std::vector<Problem> problems_;
  const MeasureConfig config_;
  std::mutex mutex_;
  std::vector<PosedPtr> kept_;
  size_t room_ = kPosedBytes;
};

// Why there is nothing to build, or nothing. Whatever file the sources can't be written to is their
// author's fault; later it would look like a broken disk.
std::string unfit(const Runner& runner, const Solution& solution, const Signature& signature) {
  for (const SourceFile& source : solution.sources) {
    if (!is_safe_relative_path(source.path) || source.path.size() > kMaxPath) {
      return fmt::format("'{}' is no path within the solution's folder\n", source.path);
    }
    for (const SourceFile& other : solution.sources) {
      const bool is_itself = &other == &source;
      if (other.path.starts_with(source.path + "/") || (!is_itself && other.path == source.path)) {
        return fmt::format("'{}' and '{}' can't both be files\n", source.path, other.path);
      }
    }
  }
  const Support support = runner.supports(solution, signature);
  return support.ok ? "" : support.reason + "\n";
}

ArtifactPtr artifact_of(const BuiltCandidate& built) {
  return std::static_pointer_cast<const Artifact>(built.handle);
}

// Where candidates are looked at before they are judged.
struct Course {
  Screen screen;
  std::vector<size_t> order;  // of the problems in a race; the first is the screening's
};

class LiveBench : public Bench {
 public:
  LiveBench(LiveBenchOptions options, BuiltCandidate baseline, Course course,
            std::unique_ptr<PosedProblems> posed)
      : options_(std::move(options)),
        signature_(options_.problems.front().signature),
        baseline_(artifact_of(baseline)),
        course_(std::move(course)),
        posed_(std::move(posed)),
        host_(options_.runner.measures_on_host() ? HostUse::kTimed : HostUse::kElsewhere),
        sessions_(options_.devices.size()) {}

  int devices() const override { return static_cast<int>(sessions_.size()); }
  int builders() const override { return options_.builders; }

  Result<BuiltCandidate> build(const Solution& solution) override {
    const QuietHost::Hold hold = host_.build();
    return build_candidate(options_, solution);
  }
  Result<Screening> screen(int device, const Solution& solution,
                           const BuiltCandidate& built) override;
  Result<Race> race(int device, const Solution& solution, const BuiltCandidate& built,
                    const RaceRequest& request) override;
  Result<Judgement> judge(int device, const Solution& solution,
                          const BuiltCandidate& built) override;
  Result<Judgement> confirm(int device, const Solution& solution,
                            const BuiltCandidate& built) override;

  static Result<BuiltCandidate> build_candidate(const LiveBenchOptions& options,
                                                const Solution& solution);

 private:
  // Opened when it is first asked for, and again after it was lost.
  Result<Session*> session(int device);
  // After an Error of a session with a candidate in it: a verdict on the candidate if the baseline
  // by itself can be measured in a fresh session, else the Error stands.
  Result<Verdict> blame(int device, const Entrant& candidate, const PosedProblem& posed,
                        const Error& error);
  Result<Screening> look(int device, const Entrant& candidate, const Screen& screen);
  RaceCourse course_of(const RaceRequest& request) const;
  Result<Verdict> judge_one(int device, const Entrant& candidate, const PosedProblem& posed);
  Result<void> store(Verdict& verdict, const Solution& solution, const Problem& problem);
  Entrant baseline() const { return {options_.baseline, baseline_}; }

  const LiveBenchOptions options_;
  const SignaturePtr signature_;
  const ArtifactPtr baseline_;
  const Course course_;
  const std::unique_ptr<PosedProblems> posed_;
  QuietHost host_;
  std::vector<std::unique_ptr<Session>> sessions_;  // by device
};

Result<BuiltCandidate> LiveBench::build_candidate(const LiveBenchOptions& options,
                                                  const Solution& solution) {
  const auto start = steady_clock::now();
  const Signature& signature = *options.problems.front().signature;
  BuiltCandidate built;
  built.log = unfit(options.runner, solution, signature);
  if (!built.log.empty()) return built;
  const BuildOutcome outcome =
      FIB_TRY(options.runner.build({.solution = solution,
                                    .signature = signature,
                                    .architecture = options.devices.front().architecture,
                                    .timeout_s = options.evaluation.build_timeout_s}));
  built.build_s = seconds_since(start);
  built.compiles = outcome.artifact != nullptr;
  built.log = built.compiles ? outcome.artifact->log : outcome.failure_log;
  if (!built.compiles) return built;
  // What has no readable code (a kernel that is listed and isn't one) is like nothing else.
  if (auto identity = code_identity(*outcome.artifact)) {
    built.code_key = std::move(identity->key);
    built.behaviour = std::move(identity->behaviour);
  } else {
    built.code_key = outcome.artifact->build_key;
  }
  built.handle = outcome.artifact;
  return built;
}

Result<Session*> LiveBench::session(int device) {
  std::unique_ptr<Session>& session = sessions_.at(static_cast<size_t>(device));
  if (!session) {
    const DeviceInfo& info = options_.devices[static_cast<size_t>(device)];
    session = FIB_TRY(options_.runner.open_session(info.index));
  }
  return session.get();
}

Result<Verdict> LiveBench::blame(int device, const Entrant& candidate, const PosedProblem& posed,
                                 const Error& error) {
  sessions_.at(static_cast<size_t>(device)).reset();
  const auto sound = course_.screen.probe(*FIB_TRY(session(device)), baseline());
  if (!sound) return fail(error);
  ContenderOutcome outcome;
  outcome.fault = Fault{FaultKind::kCrash, "it can't be measured: " + error.to_string()};
  return fib::judge({.problem = posed.problem,
                     .solution = candidate.solution,
                     .artifact = *candidate.artifact,
                     .device = options_.devices[static_cast<size_t>(device)],
                     .outcome = outcome,
                     .inputs = posed.value_sets.front(),
                     .expected = nullptr});
}

Result<Screening> LiveBench::look(int device, const Entrant& candidate, const Screen& screen) {
  auto screening = screen.compare(*FIB_TRY(session(device)), candidate, baseline());
  if (screening) return screening;
  return Screening{.verdict = FIB_TRY(blame(device, candidate, screen.posed(), screening.error()))};
}

Result<Screening> LiveBench::screen(int device, const Solution& solution,
                                    const BuiltCandidate& built) {
  const QuietHost::Hold hold = host_.measure();
  const auto start = steady_clock::now();
  const ArtifactPtr artifact = artifact_of(built);
  Screening screening = FIB_TRY(look(device, {solution, artifact}, course_.screen));
  screening.device_s = seconds_since(start);
  return screening;
}

RaceCourse LiveBench::course_of(const RaceRequest& request) const {
  std::vector<Leg> legs;
  for (const size_t index : course_.order) {
    const Workload& workload = posed_->problems()[index].workload;
    const auto known = request.rival.speedups.find(workload_id(workload));
    const bool is_known = known != request.rival.speedups.end();
    legs.push_back(
        {.weight = workload.weight, .rival = is_known ? known->second : request.rival.speedup_low});
  }
  return RaceCourse(std::move(legs), request.rival.speedup_low, request.margin);
}

Result<Race> LiveBench::race(int device, const Solution& solution, const BuiltCandidate& built,
                             const RaceRequest& request) {
  const QuietHost::Hold hold = host_.measure();
  const auto start = steady_clock::now();
  const ArtifactPtr artifact = artifact_of(built);
  RaceCourse course = course_of(request);
  Race race;
  const auto note = [&](const Screening& screening) {
    race.verdicts.push_back(screening.verdict);
    race.verdicts.back().samples.clear();
    const bool is_timed = screening.speedup > 0.0;  // else only the paired session can tell
    if (!is_timed) return false;
    race.verdicts.back().speedup = screening.speedup;
    course.add({screening.speedup, screening.speedup_low, screening.speedup_high});
    return true;
  };
  bool goes_on = note(request.screening);
  while (const auto leg = goes_on ? course.next() : std::nullopt) {
    const Screen screen(FIB_TRY(posed_->get(course_.order[*leg])), options_);
    goes_on = note(FIB_TRY(look(device, {solution, artifact}, screen)));
  }
  race.workloads = course.legs_run();
  race.is_beaten = goes_on && course.is_beaten();
  if (course.legs_run() > 0) {
    race.speedup = course.standing().middle;
    race.speedup_low = course.standing().low;
    race.speedup_high = course.standing().high;
  }
  race.behaviour = behaviour_of(race.verdicts, built.behaviour);
  race.device_s = seconds_since(start);
  return race;
}

// As `fib submit --against` has it, but for the confirmation, which a winner gets later and with
// everything fresh.
Result<Verdict> LiveBench::judge_one(int device, const Entrant& candidate,
                                     const PosedProblem& posed) {
  const auto start = steady_clock::now();
  const ExpectedSource expected = [&](size_t set) {
    return options_.expected.get(posed.problem, posed.value_sets[set], options_.evaluation.threads);
  };
  auto alone = measure_alone(*FIB_TRY(session(device)), {.solution = candidate.solution,
                                                         .artifact = candidate.artifact,
                                                         .posed = posed,
                                                         .expected = expected,
                                                         .config = options_.evaluation.measure});
  Verdict verdict =
      alone ? *std::move(alone) : FIB_TRY(blame(device, candidate, posed, alone.error()));
  verdict.incumbent = options_.baseline.name;
  verdict.incumbent_key = solution_key(options_.baseline);
  if (verdict.status == VerdictStatus::kPassed) {
    note_pair(measure_pair(*FIB_TRY(session(device)), {.candidate = candidate.solution,
                                                       .candidate_artifact = candidate.artifact,
                                                       .incumbent = options_.baseline,
                                                       .incumbent_artifact = baseline_,
                                                       .posed = posed,
                                                       .expected = expected,
                                                       .config = options_.evaluation.measure}),
              verdict);
  } else {
    verdict.paired_note = "only what passes is paired";
  }
  for (const std::string& note : posed.notes) verdict.log += note + "\n";
  verdict.config_key = options_.evaluation.config_key(*signature_);
  verdict.wall_s = seconds_since(start);
  return verdict;
}

Result<void> LiveBench::store(Verdict& verdict, const Solution& solution, const Problem& problem) {
  verdict.id = FIB_TRY(options_.store.add(verdict, solution, problem.workload));
  return {};
}

Result<Judgement> LiveBench::judge(int device, const Solution& solution,
                                   const BuiltCandidate& built) {
  const QuietHost::Hold hold = host_.measure();
  const auto start = steady_clock::now();
  const ArtifactPtr artifact = artifact_of(built);
  const std::vector<Problem>& problems = posed_->problems();
  std::vector<Verdict> verdicts;
  for (size_t i = 0; i < problems.size(); ++i) {
    const PosedPtr posed = FIB_TRY(posed_->get(i));
    Verdict verdict = FIB_TRY(judge_one(device, {solution, artifact}, *posed));
    FIB_CHECK(store(verdict, solution, problems[i]));
    verdicts.push_back(std::move(verdict));
    // One wrong answer and it is out of the race; the device has better to do.
    if (verdicts.back().status != VerdictStatus::kPassed) break;
  }
  Judgement judgement = judgement_of(std::move(verdicts), problems.size(), built.behaviour);
  judgement.device_s = seconds_since(start);
  return judgement;
}

Result<Judgement> LiveBench::confirm(int device, const Solution& solution,
                                     const BuiltCandidate& built) {
  const QuietHost::Hold hold = host_.measure();
  const auto start = steady_clock::now();
  sessions_.at(static_cast<size_t>(device)).reset();
  EvaluationOptions fresh = options_.evaluation;
  fresh.measure.seed =
      Hasher().add("confirmation").add(fresh.measure.seed).add(solution_key(solution)).u64();
  std::vector<Verdict> verdicts;
  const EvaluationHooks hooks{.on_verdict = [&](Verdict verdict, const Solution& judged,
                                                const Problem& problem) -> Result<void> {
                                FIB_CHECK(store(verdict, judged, problem));
                                verdicts.push_back(std::move(verdict));
                                return {};
                              },
                              .on_progress = {},
                              .already_done = {},
                              .cancelled = {}};
  const EvaluationSummary summary = FIB_TRY(evaluate(
      options_.runner, {options_.devices[static_cast<size_t>(device)]},
      {EvaluationJob{
          .solution = solution, .problems = posed_->problems(), .incumbent = options_.baseline}},
      options_.expected, fresh, hooks));
  // What kept a workload from being measured counts against the candidate, or against the machine.
  if (!summary.errors.empty()) {
    Session* reopened = FIB_TRY(session(device));
    FIB_CHECK(course_.screen.probe(*reopened, baseline()));
  }
  Judgement judgement =
      judgement_of(std::move(verdicts), posed_->problems().size(), built.behaviour);
  judgement.device_s = seconds_since(start);
  return judgement;
}

Result<size_t> screening_index(const LiveBenchOptions& options,
                               const std::vector<PosedPtr>& posed) {
  if (options.screening.workload.empty()) {
    return choose_screening_problem(posed, options.devices.front());
  }
  for (size_t i = 0; i < options.problems.size(); ++i) {
    if (workload_id(options.problems[i].workload) == options.screening.workload) return i;
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("no workload '{}' to screen on", options.screening.workload),
              options.problems.front().signature->name,
              fmt::format("for example '{}'", workload_id(options.problems.front().workload)));
}

Result<Course> lay_out(const LiveBenchOptions& options, PosedProblems& problems) {
  const std::vector<PosedPtr> posed = FIB_TRY(problems.all());
  const size_t screened = FIB_TRY(screening_index(options, posed));
  return Course{.screen = FIB_TRY(Screen::make(options.problems[screened], options)),
                .order = race_order(posed, options.devices.front(), screened)};
}

}  // namespace

Result<std::unique_ptr<Bench>> make_live_bench(LiveBenchOptions options) {
  if (options.problems.empty()) {
    return fail(ErrorCode::kInvalidInput, "there are no workloads to judge by", "the search",
                "name some with --workloads");
  }
  if (options.devices.empty()) {
    return fail(ErrorCode::kEnvironment, "no device to measure on",
                std::string(options.runner.target()), "`fib doctor` says why");
  }
  const DeviceInfo& first = options.devices.front();
  for (const DeviceInfo& device : options.devices) {
    if (device.key == first.key) continue;
    return fail(ErrorCode::kInvalidInput,
                fmt::format("'{}' and '{}' are not of one kind: their times don't compare",
                            first.name, device.name),
                std::string(options.runner.target()), "choose some of a kind with --device");
  }
  auto posed = std::make_unique<PosedProblems>(options.problems, options.evaluation.measure);
  BuiltCandidate baseline = FIB_TRY(LiveBench::build_candidate(options, options.baseline));
  if (!baseline.compiles) {
    return fail(ErrorCode::kInvalidInput, "the baseline doesn't compile: " + baseline.log,
                options.baseline.name, "`fib submit` of it says more");
  }
  FIB_CHECK(options.store.add_solution(options.baseline));
  Course course = FIB_TRY(lay_out(options, *posed));
  return std::make_unique<LiveBench>(std::move(options), std::move(baseline), std::move(course),
                                     std::move(posed));
}

}  // namespace fib::agents
