#include "harness/evaluate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

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

uint64_t value_seed(uint64_t secret, const Problem& problem, int value_set) {
  return Hasher()
      .add("value-set")
      .add(secret)
      .add(problem.signature->name)
      .add(workload_id(problem.workload))
      .add(static_cast<uint64_t>(value_set))
      .u64();
}

// A problem with its inputs planned and its value sets drawn.
struct PosedProblem {
  Problem problem;
  std::vector<InputSet> value_sets;
  std::vector<std::string> notes;
};

// With tens of millions of elements in an output, one value set alone holds more values than a
// mistake can hide in; a second one still shows what is remembered between calls.
constexpr int64_t kBulkElements = int64_t{1} << 24;
constexpr int kBulkValueSets = 2;

int value_sets_of(const Problem& problem, const MeasureConfig& config) {
  int64_t elements = 0;
  for (const TensorDesc& output : problem.outputs) elements += output.num_elements();
  return elements < kBulkElements ? config.value_sets : std::min(config.value_sets, kBulkValueSets);
}

Result<std::shared_ptr<const PosedProblem>> pose(const Problem& problem,
                                                 const MeasureConfig& config) {
  InputPlan plan = FIB_TRY(plan_inputs(problem));
  auto posed = std::make_shared<PosedProblem>();
  for (int set = 0; set < value_sets_of(problem, config); ++set) {
    posed->value_sets.push_back(with_seed(plan, value_seed(config.seed, problem, set)));
  }
  posed->problem = std::move(plan.problem);
  posed->notes = std::move(plan.notes);
  return posed;
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
    builds_.resize(jobs_.size());
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
      farm_->submit([this, job = item.job, signature = item.problem->signature, architecture] {
        guarded([&] {
          if (!stop_) std::ignore = build(job, *signature, architecture);
        });
      });
    }
  }

  // One build a (solution, signature); whoever comes first does it.
  Result<BuildOutcome> build(size_t job, const Signature& signature,
                             const std::string& architecture) {
    std::shared_ptr<Build> entry;
    {
      std::lock_guard lock(mutex_);
      auto& slot = builds_[job][signature.name];
      if (!slot) slot = std::make_shared<Build>();
      entry = slot;
    }
    std::call_once(entry->once, [&] {
      progress("build", jobs_[job].solution.name + " " + signature.name);
      entry->promise.set_value(runner_.build({.solution = jobs_[job].solution,
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
      const auto session = runner_.open_session(device);
      if (!session) {
        std::lock_guard lock(mutex_);
        fatal_ = session.error();
        stop_ = true;
        return;
      }
      while (const std::optional<Item> item = next()) {
        if (const auto done = evaluate_item(**session, *item); !done) report(done.error());
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

  Result<void> evaluate_item(Session& session, const Item& item) {
    const auto start = std::chrono::steady_clock::now();
    const Solution& solution = jobs_[item.job].solution;
    const Signature& signature = *item.problem->signature;
    const std::string label = solution.name + " " + item.problem->label();

    const BuildOutcome built =
        FIB_TRY(build(item.job, signature, session.device().architecture));
    if (!built.artifact) {
      return finish(compile_error_verdict(*item.problem, solution, session.device(), built), item,
                    start);
    }
    progress("reference", label);
    const std::shared_ptr<const PosedProblem> posed = FIB_TRY(item.posed.get());
    const auto expected = [&](size_t set) {
      return expected_.get(posed->problem, posed->value_sets[set], options_.threads);
    };
    if (runner_.measures_on_host()) {
      for (size_t set = 0; set < posed->value_sets.size(); ++set) FIB_TRY(expected(set));
    }
    progress("measure", label);
    MeasureRequest request{.contenders = {built.artifact},
                           .problem = posed->problem,
                           .value_sets = posed->value_sets,
                           .expected = expected,
                           .config = options_.measure};
    request.config.seed = value_seed(options_.measure.seed, posed->problem, -1);
    const std::vector<ContenderOutcome> outcomes = FIB_TRY(session.measure(request));
    // By now in memory, unless the candidate failed before it was ever asked for.
    const Result<ExpectedPtr> yardstick =
        outcomes.front().checks.empty() ? Result<ExpectedPtr>(nullptr) : expected(0);
    Verdict verdict = judge({.problem = posed->problem,
                             .solution = solution,
                             .artifact = *built.artifact,
                             .device = session.device(),
                             .outcome = outcomes.front(),
                             .inputs = posed->value_sets.front(),
                             .expected = yardstick ? yardstick->get() : nullptr});
    for (const std::string& note : posed->notes) verdict.log += note + "\n";
    return finish(std::move(verdict), item, start);
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
  std::vector<std::map<std::string, std::shared_ptr<Build>>> builds_;  // by job, by signature

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
  hash.add(dump_json(extension_to_json(signature.fib)));
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
