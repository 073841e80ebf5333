#include "runners/cpu/cpu_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/statistics.h"
#include "runners/cpu/batch_overhead.h"
#include "runners/cpu/contender.h"
#include "runners/cpu/cpu_build.h"
#include "runners/cpu/futex.h"

namespace fib {
namespace {

constexpr double kBatchNs = 200'000.0;   // a warm batch lasts at least this: the clock's error is
                                         // a thousandth of it
constexpr int kEmptyBatches = 31;
constexpr double kSuspect = 1.5;  // times an empty batch
constexpr double kMillisecondNs = 1e6;
constexpr size_t kOwnMemoryBytes = size_t{1} << 30;  // address space of libraries, stacks, heap
constexpr size_t kStackBytes = 8 << 20;              // a thread

// A contender in the course of one request.
struct Entry {
  ArtifactPtr artifact;
  std::unique_ptr<WorkerLink> link;
  std::unique_ptr<Contender> contender;
  ContenderOutcome outcome;
  size_t warm_calls = 1;
  double parent_ns = 0.0, worker_ns = 0.0;            // of all timed batches
  double long_parent_ns = 0.0, long_worker_ns = 0.0;  // of those of a millisecond or more

  bool can_be_timed() const { return !outcome.fault && contender->is_right(); }
};

// A fault ends the contender and goes into its outcome; an Error ends the request. `ok` says
// whether the contender goes on.
template <class T>
Result<bool> settle(Entry& entry, const Attempt<T>& attempt) {
  if (attempt) return true;
  if (const auto* fault = std::get_if<Fault>(&attempt.error())) {
    entry.outcome.fault = *fault;
    return false;
  }
  return fail(std::get<Error>(attempt.error()));
}

class CpuSession : public Session {
 public:
  explicit CpuSession(CpuSessionOptions options) : options_(std::move(options)) {}

  const DeviceInfo& device() const override { return options_.device; }
  Result<std::vector<ContenderOutcome>> measure(const MeasureRequest& request) override;

 private:
  Result<void> open(Entry& entry, const ContenderRequest& request, const MeasureConfig& config);
  Attempt<void> start_worker(Entry& entry, const MeasureConfig& config);
  // Once on each value set, alone, untimed: the first full comparison.
  Result<void> check(Entry& entry, size_t sets);
  Result<void> time_mode(TimingMode mode, std::vector<Entry>& entries,
                         const MeasureRequest& request, Random& random);
  Attempt<void> measure_overhead(Entry& entry, size_t set);
  Attempt<void> warm_up(Entry& entry, TimingMode mode, size_t set, Random& random);
  Attempt<Sample> sample(Entry& entry, TimingMode mode, size_t set);
  void conclude(Entry& entry);

  CpuSessionOptions options_;
  // Of an empty batch: what the pipe to a worker takes, the same for all contenders. The least that
  // any of them met, so that one disturbed look makes nobody seem faster than the others.
  double overhead_ns_ = INFINITY;
  // Workers of the last request, by artifact, for the next problem.
  std::vector<std::pair<std::string, std::unique_ptr<WorkerLink>>> idle_;
};

Attempt<void> CpuSession::start_worker(Entry& entry, const MeasureConfig& config) {
  const auto idle = std::find_if(idle_.begin(), idle_.end(), [&](const auto& kept) {
    return kept.first == entry.artifact->build_key && kept.second->alive();
  });
  if (idle != idle_.end()) {
    entry.link = std::move(idle->second);
    idle_.erase(idle);
    entry.link->set_timeout(config.call_timeout_s);
    return {};
  }
  const auto threads = static_cast<size_t>(options_.device.threads);
  entry.link = std::make_unique<WorkerLink>(FIB_TRY(WorkerLink::start(
      {.executable = options_.worker_executable,
       .library = entry.artifact->folder / kCpuLibraryName,
       .threads = options_.device.threads,
       .memory_bytes = options_.arena_budget_bytes + kOwnMemoryBytes + threads * kStackBytes,
       .timeout_s = config.call_timeout_s})));
  return {};
}

Result<void> CpuSession::open(Entry& entry, const ContenderRequest& request,
                              const MeasureConfig& config) {
  if (!FIB_TRY(settle(entry, start_worker(entry, config)))) return {};
  for (const std::string& gap : entry.link->sandbox_gaps())
    entry.outcome.log += fmt::format("the sandbox is not complete: {}\n", gap);
  auto contender = Contender::open(*entry.link, request, entry.outcome);
  if (FIB_TRY(settle(entry, contender))) entry.contender = *std::move(contender);
  return {};
}

Result<void> CpuSession::check(Entry& entry, size_t sets) {
  for (size_t set = 0; set < sets && !entry.outcome.fault; ++set) {
    if (!FIB_TRY(settle(entry, entry.contender->load(set)))) return {};
    if (!FIB_TRY(settle(entry, entry.contender->run(set, 1, CacheState::kWarm)))) return {};
    if (!FIB_TRY(settle(entry, entry.contender->check_shared()))) return {};
  }
  return {};
}

Attempt<void> CpuSession::measure_overhead(Entry& entry, size_t set) {
  std::vector<double> empty;
  for (int i = 0; i < kEmptyBatches; ++i)
    empty.push_back(FIB_TRY(entry.contender->run(set, 0, CacheState::kWarm)).elapsed_ns);
  overhead_ns_ = std::min(overhead_ns_, batch_overhead_ns(empty));
  return {};
}

Attempt<Sample> CpuSession::sample(Entry& entry, TimingMode mode, size_t set) {
  const bool is_cold = mode == TimingMode::kCold;
  const size_t calls = is_cold ? 1 : entry.warm_calls;
  const auto run = [&] {
    return entry.contender->run(set, calls, is_cold ? CacheState::kCold : CacheState::kWarm);
  };
  BatchTime time = FIB_TRY(run());
  // A batch that takes hardly more than an empty one: the empty ones may have met a busy moment.
  if (time.elapsed_ns < kSuspect * overhead_ns_) {
    FIB_CHECK(measure_overhead(entry, set));
    time = FIB_TRY(run());
  }
  // An answer within the overhead's own spread took no measurable time: one nanosecond.
  const double net_ns = std::max(time.elapsed_ns - overhead_ns_, 1.0);
  entry.parent_ns += net_ns;
  entry.worker_ns += time.busy_ns;
  if (net_ns >= kMillisecondNs) {
    entry.long_parent_ns += net_ns;
    entry.long_worker_ns += time.busy_ns;
  }
  Sample sample;
  sample.time_ns = net_ns / static_cast<double>(calls);
  sample.value_set = static_cast<uint32_t>(set);
  sample.calls = static_cast<uint32_t>(calls);
  return sample;
}

// As many batches as chance wants; they also find out how many calls make a batch.
Attempt<void> CpuSession::warm_up(Entry& entry, TimingMode mode, size_t set, Random& random) {
  FIB_CHECK(measure_overhead(entry, set));
  entry.warm_calls = 1;
  double shortest_ns = INFINITY;
  for (uint64_t batches = 2 + random() % 4; batches > 0; --batches) {
    const Sample first = FIB_TRY(sample(entry, mode, set));
    shortest_ns = std::min(shortest_ns, first.time_ns);
  }
  entry.warm_calls = static_cast<size_t>(std::clamp(
      std::ceil(kBatchNs / shortest_ns), 1.0, static_cast<double>(entry.contender->max_calls())));
  entry.outcome.log += fmt::format(
      "{}: {} call{} a batch; {:.2f} us of an empty batch subtracted\n", timing_mode_name(mode),
      mode == TimingMode::kCold ? 1 : entry.warm_calls,
      mode == TimingMode::kCold ? ", operands flushed from all caches," : "s",
      overhead_ns_ / 1e3);
  return {};
}

Result<void> CpuSession::time_mode(TimingMode mode, std::vector<Entry>& entries,
                                   const MeasureRequest& request, Random& random) {
  const MeasureConfig& config = request.config;
  std::vector<size_t> active;
  size_t resident = request.value_sets.size();  // the last ones loaded, of every contender
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].can_be_timed()) continue;
    active.push_back(i);
    resident = std::min(resident, entries[i].contender->resident_sets());
  }
  const auto any_set = [&] { return request.value_sets.size() - 1 - random() % resident; };
  const auto drop_faulty = [&] {
    std::erase_if(active, [&](size_t i) { return !entries[i].can_be_timed(); });
  };
  overhead_ns_ = INFINITY;
  for (const size_t i : active) {
    FIB_TRY(settle(entries[i], warm_up(entries[i], mode, any_set(), random)));
    entries[i].outcome.timings.push_back({.mode = mode, .clock = Clock::kHost});
  }
  drop_faulty();

  const int least_samples = entries.size() > 1 ? kLeastPairs : 1;
  std::vector<StoppingRule> rules(
      entries.size(), StoppingRule(config.min_samples, config.max_samples,
                                   config.target_relative_ci, config.max_seconds_per_mode,
                                   least_samples));
  const int64_t begin = monotonic_ns();
  const auto is_done = [&](size_t i) {
    return rules[i].done(static_cast<double>(monotonic_ns() - begin) * 1e-9);
  };
  for (uint32_t round = 0; !std::all_of(active.begin(), active.end(), is_done); ++round) {
    std::shuffle(active.begin(), active.end(), random);
    const size_t set = any_set();
    for (const size_t i : active) {
      auto taken = sample(entries[i], mode, set);
      if (!FIB_TRY(settle(entries[i], taken))) continue;
      taken->contender = static_cast<uint32_t>(i);
      taken->round = round;
      rules[i].add(taken->time_ns);
      entries[i].outcome.calls_timed += taken->calls;
      entries[i].outcome.timings.back().samples.push_back(*taken);
    }
    drop_faulty();
  }
  for (const size_t i : active) FIB_TRY(settle(entries[i], entries[i].contender->check_shared()));
  return {};
}

void CpuSession::conclude(Entry& entry) {
  ContenderOutcome& outcome = entry.outcome;
  const bool has_long = entry.long_parent_ns > 0.0;
  if (entry.parent_ns > 0.0) {
    outcome.cross_check_ratio = has_long ? entry.long_worker_ns / entry.long_parent_ns
                                         : entry.worker_ns / entry.parent_ns;
  }
  if (has_long && (outcome.cross_check_ratio > 1.25 || outcome.cross_check_ratio < 0.8)) {
    outcome.log += fmt::format("the worker's clock says {:.2f} times what the parent's says\n",
                               outcome.cross_check_ratio);
  }
  if (!entry.link) return;
  if (const std::string printed = entry.link->stderr_tail(); !outcome.fault && !printed.empty())
    outcome.log += "the solution printed:\n" + printed;
  entry.contender.reset();
  if (!outcome.fault) idle_.emplace_back(entry.artifact->build_key, std::move(entry.link));
}

Result<std::vector<ContenderOutcome>> CpuSession::measure(const MeasureRequest& request) {
  if (request.value_sets.empty())
    return fail(ErrorCode::kInvalidInput, "no value sets to measure with", request.problem.label());
  const size_t sets = request.value_sets.size();
  if (const size_t bytes = InputImages::image_bytes(request.problem, sets);
      bytes > options_.arena_budget_bytes) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("the inputs of {} value sets take {} bytes; the budget is {}", sets,
                            bytes, options_.arena_budget_bytes),
                request.problem.label());
  }
  const int threads = options_.device.threads;
  const InputImages images(request.problem, request.value_sets, threads);
  std::vector<ExpectedPtr> expected;
  for (size_t set = 0; set < sets; ++set) expected.push_back(FIB_TRY(request.expected(set)));

  // Contenders are compared with each other: none of them may have a worker that is warm already.
  if (request.contenders.size() > 1) idle_.clear();
  Random random(request.config.seed);
  std::vector<Entry> entries(request.contenders.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].artifact = request.contenders[i];
    FIB_CHECK(open(entries[i],
                   {.problem = request.problem,
                    .images = images,
                    .expected = expected,
                    .arena_budget_bytes = options_.arena_budget_bytes,
                    .compare_threads = threads,
                    .seed = random()},
                   request.config));
    if (!entries[i].outcome.fault) FIB_CHECK(check(entries[i], sets));
  }
  for (const TimingMode mode : request.config.modes) {
    if (mode == TimingMode::kGraph) continue;  // a host has no graphs
    FIB_CHECK(time_mode(mode, entries, request, random));
  }
  idle_.clear();
  std::vector<ContenderOutcome> outcomes;
  for (Entry& entry : entries) {
    conclude(entry);
    outcomes.push_back(std::move(entry.outcome));
  }
  return outcomes;
}

}  // namespace

std::unique_ptr<Session> make_cpu_session(CpuSessionOptions options) {
  return std::make_unique<CpuSession>(std::move(options));
}

}  // namespace fib
