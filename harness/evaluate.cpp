#include "harness/evaluate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "harness/paired_session.h"
#include "harness/solo_session.h"
#include "harness/thread_pool.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

// Raise whenever the same measurement would lead to another verdict.
constexpr uint64_t kJudgeVersion = 1;

// How many problems a device's references are prepared ahead: enough that those of a large one have
// begun before the small ones in front of it are measured.
constexpr size_t kLookAhead = 5;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

using PosedResult = Result<std::shared_ptr<const PosedProblem>>;

struct Item {
  size_t job = 0;
  const Problem* problem = nullptr;
  std::shared_future<PosedResult> posed;
};

// One call of evaluate(): the queue of items, the farm that builds, and the hooks, serialised.
class EvaluationRun {
 public:
  EvaluationRun(Runner& runner, const std::vector<EvaluationJob>& jobs, ExpectedCache& expected,
             const EvaluationOptions& options, const EvaluationHooks& hooks)
      : runner_(runner), jobs_(jobs), expected_(expected), options_(options), hooks_(hooks) {}

  Result<EvaluationSummary> run(const std::vector<DeviceInfo>& devices) {
    collect_items();
    if (items_.empty()) return summary_;
    const bool runs_ahead = !runner_.measures_on_host();
    // Declared before the threads that use them end: destruction waits for what is under way.
    ThreadPool farm(runs_ahead ? options_.threads : 1);
    // Two: while one problem's values are put away on one thread, the next one's are computed on all.
    ThreadPool references(2);
    farm_ = runs_ahead ? &farm : nullptr;
    references_ = runs_ahead ? &references : nullptr;
    if (farm_ != nullptr) {
      start_builds(devices.front().architecture);
      std::lock_guard lock(mutex_);
      look_ahead();
    }

    std::vector<std::thread> threads;
    for (size_t i = 1; i < devices.size(); ++i) {
      threads.emplace_back([&, i] { serve(devices[i].index); });
    }
    serve(devices.front().index);
    for (std::thread& thread : threads) thread.join();
    stop_ = true;  // lets builds that nobody waits for fall through
    if (bug_) std::rethrow_exception(bug_);
    if (fatal_) return fail(*fatal_);
    return summary_;
  }

 private:
  struct Build {
    std::once_flag once;
    std::promise<Result<BuildOutcome>> promise;
    std::shared_future<Result<BuildOutcome>> outcome = promise.get_future().share();
  };

  void collect_items() {
    for (size_t job = 0; job < jobs_.size(); ++job) {
      for (const Problem& problem : jobs_[job].problems) {
        if (hooks_.already_done && hooks_.already_done(jobs_[job].solution, problem)) {
          ++summary_.skipped;
          continue;
        }
        items_.push_back({.job = job, .problem = &problem, .posed = {}});
      }
    }
  }

  void start_builds(const std::string& architecture) {
    const Item* previous = nullptr;  // items of one build stand together
    for (const Item& item : items_) {
      const bool is_same_build = previous != nullptr && previous->job == item.job &&
                                 previous->problem->signature == item.problem->signature;
      previous = &item;
      if (is_same_build) continue;
      const EvaluationJob& job = jobs_[item.job];
      submit_build(job.solution, item.problem->signature, architecture);
      if (job.incumbent) submit_build(*job.incumbent, item.problem->signature, architecture);
    }
  }

  void submit_build(const Solution& solution, const SignaturePtr& signature,
                    const std::string& architecture) {
    farm_->submit([this, &solution, signature, architecture] {
      guarded([&] {
        if (!stop_) std::ignore = build(solution, *signature, architecture);
      });
    });
  }

  // One build a (solution, signature); whoever comes first does it.
  Result<BuildOutcome> build(const Solution& solution, const Signature& signature,
                             const std::string& architecture) {
    std::shared_ptr<Build> entry;
    {
      std::lock_guard lock(mutex_);
      auto& slot = builds_[{&solution, signature.name}];
      if (!slot) slot = std::make_shared<Build>();
      entry = slot;
    }
    std::call_once(entry->once, [&] {
      progress("build", solution.name + " " + signature.name);
      entry->promise.set_value(runner_.build({.solution = solution,
                                              .signature = signature,
                                              .architecture = architecture,
                                              .timeout_s = options_.build_timeout_s}));
    });
    return entry->outcome.get();
  }

  // Takes the next item and sees that the ones after it are being posed and computed.
  std::optional<Item> next() {
    std::lock_guard lock(mutex_);
    if (stop_ || next_ >= items_.size() || (hooks_.cancelled && hooks_.cancelled())) {
      return std::nullopt;
    }
    look_ahead();
    return items_[next_++];
  }

  void look_ahead() {
    const size_t end = std::min(items_.size(), references_ != nullptr ? next_ + 1 + kLookAhead
                                                                       : next_ + 1);
    for (size_t i = next_; i < end; ++i) {
      if (!items_[i].posed.valid()) items_[i].posed = start_posing(*items_[i].problem);
    }
  }

  std::shared_future<PosedResult> start_posing(const Problem& problem) {
    auto promise = std::make_shared<std::promise<PosedResult>>();
    auto future = promise->get_future().share();
    if (references_ == nullptr) {
      promise->set_value(pose(problem, options_.measure));
      return future;
    }
    references_->submit([this, promise, &problem] {
      guarded([&] {
        if (stop_) return promise->set_value(fail(ErrorCode::kTimeout, "stopped"));
        const PosedResult posed = pose(problem, options_.measure);
        promise->set_value(posed);
        if (!posed) return;
        for (const InputSet& set : (*posed)->value_sets) {
          // A failure is met again, and reported, where the values are asked for.
          if (stop_ || !expected_.get((*posed)->problem, set, options_.threads)) return;
        }
      });
    });
    return future;
  }

  void serve(int device) {
    guarded([&] {
      auto session = runner_.open_session(device);
      if (!session) {
        std::lock_guard lock(mutex_);
        fatal_ = session.error();
        stop_ = true;
        return;
      }
      while (const std::optional<Item> item = next()) {
        if (const auto done = evaluate_item(*session, *item); !done) report(done.error());
      }
    });
  }

  // Our own bugs stop the run and surface in the caller, whichever thread met them.
  template <class Work>
  void guarded(const Work& work) {
    try {
      work();
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!bug_) bug_ = std::current_exception();
      stop_ = true;
    }
  }

  Result<void> evaluate_item(std::unique_ptr<Session>& session, const Item& item) {
    const auto start = std::chrono::steady_clock::now();
    const Solution& solution = jobs_[item.job].solution;
    const Signature& signature = *item.problem->signature;
    const std::string label = label_of(item);

    const BuildOutcome built = FIB_TRY(build(solution, signature, session->device().architecture));
    if (!built.artifact) {
      return finish(compile_error_verdict(*item.problem, solution, session->device(), built), item,
                    start);
    }
    progress("reference", label);
    const std::shared_ptr<const PosedProblem> posed = FIB_TRY(item.posed.get());
    const ExpectedSource expected = FIB_TRY(expected_of(*posed));
    progress("measure", label);
    Verdict verdict = FIB_TRY(measure_alone(*session, {.solution = solution,
                                                       .artifact = built.artifact,
                                                       .posed = *posed,
                                                       .expected = expected,
                                                       .config = options_.measure}));
    if (jobs_[item.job].incumbent) pair(session, item, built.artifact, *posed, verdict);
    for (const std::string& note : posed->notes) verdict.log += note + "\n";
    return finish(std::move(verdict), item, start);
  }

  // Expected values on demand; where candidates are timed on the host, all are computed now.
  Result<ExpectedSource> expected_of(const PosedProblem& posed) {
    const ExpectedSource source = [this, &posed](size_t set) {
      return expected_.get(posed.problem, posed.value_sets[set], options_.threads);
    };
    if (runner_.measures_on_host()) {
      for (size_t set = 0; set < posed.value_sets.size(); ++set) FIB_TRY(source(set));
    }
    return source;
  }

  // Puts into `verdict` how the candidate does beside the incumbent. Whatever keeps it from being
  // paired is a note: the verdict on the candidate itself stands.
  void pair(std::unique_ptr<Session>& session, const Item& item, const ArtifactPtr& candidate,
            const PosedProblem& posed, Verdict& verdict) {
    const Solution& incumbent = *jobs_[item.job].incumbent;
    verdict.incumbent = incumbent.name;
    verdict.incumbent_key = solution_key(incumbent);
    if (verdict.status != VerdictStatus::kPassed) {
      verdict.paired_note = "only what passes is paired";
      return;
    }
    const auto built = build(incumbent, *item.problem->signature, session->device().architecture);
    if (!built || !built->artifact) {
      verdict.paired_note = "the incumbent '" + incumbent.name + "' was not built";
      verdict.log += (built ? built->failure_log : built.error().to_string()) + "\n";
      return;
    }
    const auto side_by_side = [&](const PosedProblem& with, double least_noise_floor) {
      const auto expected = expected_of(with);
      if (!expected) return PairOutcome{.note = expected.error().to_string()};
      return measure_pair(*session, {.candidate = jobs_[item.job].solution,
                                     .candidate_artifact = candidate,
                                     .incumbent = incumbent,
                                     .incumbent_artifact = built->artifact,
                                     .posed = with,
                                     .expected = *expected,
                                     .config = options_.measure,
                                     .least_noise_floor = least_noise_floor});
    };
    progress("pair", label_of(item));
    const PairOutcome first = side_by_side(posed, kLeastNoiseFloor);
    note_pair(first, verdict);
    if (!first.estimate || first.estimate->result != PairedResult::kFaster) return;
    if (is_cancelled()) {
      verdict.paired_note = "interrupted before it was confirmed";
      return;
    }
    // Of many candidates the luckiest looks fastest, so a gain must show again where nothing is as
    // it was: other values, and a fresh worker with its memory elsewhere.
    progress("confirm", label_of(item));
    if (const auto renewed = renew(session); !renewed) {
      verdict.paired_note = "not confirmed: " + renewed.error().to_string();
      return;
    }
    MeasureConfig fresh = options_.measure;
    fresh.seed = Hasher().add("confirmation").add(options_.measure.seed).u64();
    const auto posed_anew = pose(*item.problem, fresh);
    const PairOutcome second = posed_anew ? side_by_side(**posed_anew, first.estimate->noise_floor)
                                          : PairOutcome{.note = posed_anew.error().to_string()};
    note_confirmation(second, verdict);
  }

  // A session that can't be opened again ends the run, as one that never opened does.
  Result<void> renew(std::unique_ptr<Session>& session) {
    const int device = session->device().index;
    session.reset();
    auto opened = runner_.open_session(device);
    if (opened) {
      session = *std::move(opened);
      return {};
    }
    std::lock_guard lock(mutex_);
    fatal_ = opened.error();
    stop_ = true;
    return fail(std::move(opened).error());
  }

  bool is_cancelled() {
    std::lock_guard lock(mutex_);
    return stop_ || (hooks_.cancelled && hooks_.cancelled());
  }

  std::string label_of(const Item& item) const {
    return jobs_[item.job].solution.name + " " + item.problem->label();
  }

  Result<void> finish(Verdict verdict, const Item& item,
                      std::chrono::steady_clock::time_point start) {
    verdict.config_key = options_.config_key(*item.problem->signature);
    verdict.wall_s = seconds_since(start);
    std::lock_guard lock(mutex_);
    ++summary_.verdicts;
    if (verdict.status == VerdictStatus::kPassed) ++summary_.passed;
    if (const Result<void> stored =
            hooks_.on_verdict(std::move(verdict), jobs_[item.job].solution, *item.problem);
        !stored) {
      fatal_ = stored.error();
      stop_ = true;
    }
    return {};
  }

  void report(const Error& error) {
    std::lock_guard lock(mutex_);
    summary_.errors.push_back(error);
  }

  void progress(std::string stage, std::string label) {
    if (!hooks_.on_progress) return;
    std::lock_guard lock(mutex_);
    hooks_.on_progress({.stage = std::move(stage),
                        .label = std::move(label),
                        .done = summary_.verdicts,
                        .total = static_cast<int64_t>(items_.size())});
  }

  Runner& runner_;
  const std::vector<EvaluationJob>& jobs_;
  ExpectedCache& expected_;
  const EvaluationOptions& options_;
  const EvaluationHooks& hooks_;

  ThreadPool* farm_ = nullptr;        // null: builds happen where they are waited for
  ThreadPool* references_ = nullptr;  // null: likewise
  std::vector<Item> items_;
  // By solution (of a job, or its incumbent), by signature.
  std::map<std::pair<const Solution*, std::string>, std::shared_ptr<Build>> builds_;

  std::mutex mutex_;  // of everything below, and of the hooks
  size_t next_ = 0;
  std::atomic<bool> stop_ = false;
  EvaluationSummary summary_;
  std::optional<Error> fatal_;
  std::exception_ptr bug_;
};

}  // namespace

std::string EvaluationOptions::config_key(const Signature& signature) const {
  Hasher hash;
  hash.add("config").add(kJudgeVersion);
  for (const TimingMode mode : measure.modes) hash.add(timing_mode_name(mode));
  hash.add(static_cast<uint64_t>(measure.value_sets))
      .add(static_cast<uint64_t>(measure.min_samples))
      .add(static_cast<uint64_t>(measure.max_samples))
      .add(std::to_string(measure.target_relative_ci))
      .add(std::to_string(measure.max_seconds_per_mode));
  Json extension = extension_to_json(signature.fib);
  extension.erase("capacity_axes");  // nothing that is measured goes by them
  hash.add(dump_json(extension));
  for (const auto* specs : {&signature.inputs, &signature.outputs}) {
    for (const TensorSpec& spec : *specs) {
      hash.add(spec.name).add(static_cast<uint64_t>(spec.dtype));
      for (const std::string& axis : spec.shape.value_or(std::vector<std::string>{})) hash.add(axis);
    }
  }
  return hash.hex().substr(0, 16);
}

Result<EvaluationSummary> evaluate(Runner& runner, const std::vector<DeviceInfo>& devices,
                                   const std::vector<EvaluationJob>& jobs, ExpectedCache& expected,
                                   const EvaluationOptions& options, const EvaluationHooks& hooks) {
  if (devices.empty()) {
    return fail(ErrorCode::kEnvironment, "no device to measure on", std::string(runner.target()),
                "`fib doctor` says why");
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    const DeviceInfo& device = devices[i];
    if (device.key != devices.front().key) {
      return fail(ErrorCode::kUnsupported,
                  "devices of different kinds in one run: " + devices.front().name + " and " +
                      device.name,
                  std::string(runner.target()), "one run a kind of device");
    }
    for (size_t j = 0; j < i; ++j) {
      if (devices[j].index != device.index) continue;
      return fail(ErrorCode::kInvalidInput,
                  "device " + std::to_string(device.index) + " is named twice",
                  std::string(runner.target()), "name each device once");
    }
  }
  return EvaluationRun(runner, jobs, expected, options, hooks).run(devices);
}

}  // namespace fib
