#include "runners/cuda/cuda_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <thread>

#include "harness/statistics.h"
#include "harness/thread_pool.h"

namespace fib {
namespace {

using std::chrono::steady_clock;

constexpr uint32_t kBlockRounds = 10;   // samples between two looks at the interval and the clocks
constexpr double kOpenSeconds = 120.0;  // the driver and CUPTI on a cold machine
constexpr double kSlackSeconds = 30.0;  // what a command may take beside its calls
constexpr double kUsableMemory = 0.85;  // of the card
constexpr size_t kMaxWorkerLog = 4 << 10;
constexpr int kCopyThreads = 4;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

// One contender's standing in the race.
struct Entry {
  CudaBinary binary;
  LaunchPlan plan;
};

class CudaSession : public Session {
 public:
  CudaSession(CudaSessionOptions options, CudaPlanner planner, SharedMemory staging)
      : options_(std::move(options)), planner_(std::move(planner)), staging_(std::move(staging)) {}
  ~CudaSession() override {
    if (worker_) worker_->abandon();  // its context takes the driver 0.1 s
  }

  const DeviceInfo& device() const override { return options_.device; }

  Result<std::vector<ContenderOutcome>> measure(const MeasureRequest& request) override;

  // Starts the worker if there is none.
  Result<void> open();

 private:
  enum class Race { kFinished, kWorkerLost };

  Result<void> plan_all(const MeasureRequest& request, std::vector<ContenderOutcome>& outcomes);
  // Runs the contenders that have no fault yet. kWorkerLost: one of them broke the device, its
  // fault is noted, the others have to start again.
  Result<Race> race(const MeasureRequest& request, std::vector<ContenderOutcome>& outcomes);
  Result<void> begin(const MeasureRequest& request, std::mt19937_64& random);
  Result<Race> check_all(const MeasureRequest& request, std::vector<ContenderOutcome>& outcomes,
                         std::mt19937_64& random);
  Result<Race> time_mode(const MeasureRequest& request, TimingMode mode,
                         std::vector<ContenderOutcome>& outcomes, std::mt19937_64& random);
  Result<void> compare_all(const MeasureRequest& request, std::vector<ContenderOutcome>& outcomes);
  Result<void> check_kept_draws(const MeasureRequest& request, uint32_t set, uint32_t output,
                                std::vector<ContenderOutcome>& outcomes);
  Result<std::vector<KeptStats>> compare_output(uint32_t set, uint32_t output,
                                                const ReferenceValues& exact,
                                                double max_error_rms);

  Result<Json> call(Json command, double timeout_s);
  Result<Json> call_with_fault(Json command, double timeout_s, std::vector<uint32_t> suspects,
                               std::vector<ContenderOutcome>& outcomes, bool& lost);
  void stage(std::string_view bytes) {
    std::memcpy(staging_.bytes().data(), bytes.data(), bytes.size());
  }
  void drop_worker(std::vector<ContenderOutcome>& outcomes, std::span<const uint32_t> culprits);

  CudaSessionOptions options_;
  CudaPlanner planner_;
  SharedMemory staging_;
  std::unique_ptr<WorkerProcess> worker_;
  Clock clock_ = Clock::kCupti;
  std::string clock_note_;
  std::vector<Entry> entries_;
  double longest_check_s_ = 0.0;
};

// Errors that a kernel leaves on its context: whichever driver call comes next reports them.
bool is_left_by_a_kernel(const Error& error) {
  constexpr std::array kSticky = {
      "CUDA_ERROR_ILLEGAL_ADDRESS",       "CUDA_ERROR_MISALIGNED_ADDRESS",
      "CUDA_ERROR_ILLEGAL_INSTRUCTION",   "CUDA_ERROR_INVALID_ADDRESS_SPACE",
      "CUDA_ERROR_INVALID_PC",            "CUDA_ERROR_LAUNCH_FAILED",
      "CUDA_ERROR_HARDWARE_STACK_ERROR",  "CUDA_ERROR_ASSERT"};
  return std::any_of(kSticky.begin(), kSticky.end(), [&](const char* name) {
    return error.message.find(name) != std::string::npos;
  });
}

std::vector<uint32_t> active_of(const std::vector<ContenderOutcome>& outcomes) {
  std::vector<uint32_t> active;
  for (uint32_t i = 0; i < outcomes.size(); ++i) {
    if (!outcomes[i].fault) active.push_back(i);
  }
  return active;
}

Result<void> CudaSession::open() {
  if (worker_ && worker_->alive()) return {};
  worker_ = options_.worker && options_.worker->alive()
                ? std::move(options_.worker)
                : FIB_TRY(WorkerProcess::start(
                      {.executable = options_.worker_executable,
                       .kind = "cuda",
                       .environment = options_.worker_environment}));
  stage(options_.harness_cubin);
  const int fd = staging_.fd();
  const Json hello = FIB_TRY(worker_->call({{"command", "open"},
                                            {"index", options_.device.index},
                                            {"cupti", options_.cupti_library},
                                            {"cupti_reason", options_.cupti_reason},
                                            {"nvml", options_.nvml_library},
                                            {"cubin_bytes", options_.harness_cubin.size()}},
                                           {&fd, 1}, deadline_in(kOpenSeconds)))
                         .body;
  clock_ = static_cast<Clock>(hello.at("clock").get<int>());
  clock_note_.clear();
  for (const Json& note : hello.at("notes")) clock_note_ += note.get<std::string>() + "\n";
  return {};
}

Result<Json> CudaSession::call(Json command, double timeout_s) {
  return FIB_TRY(worker_->call(command, {}, deadline_in(timeout_s))).body;
}

void CudaSession::drop_worker(std::vector<ContenderOutcome>& outcomes,
                              std::span<const uint32_t> culprits) {
  worker_->kill();
  std::string words = worker_->stderr_tail();  // a device assert's message, printf output
  if (words.size() > kMaxWorkerLog) words.erase(0, words.size() - kMaxWorkerLog);
  for (const uint32_t culprit : culprits) outcomes[culprit].log += words;
  worker_.reset();
}

// A worker that dies or hangs is its contenders' fault: nothing else runs in it. So is a device
// error that only a later call of ours met.
Result<Json> CudaSession::call_with_fault(Json command, double timeout_s,
                                          std::vector<uint32_t> suspects,
                                          std::vector<ContenderOutcome>& outcomes, bool& lost) {
  auto answer = call(std::move(command), timeout_s);
  if (answer) return answer;
  const Error& error = answer.error();
  Fault fault;
  if (error.code == ErrorCode::kTimeout) {
    fault = {FaultKind::kTimeout, "the device did not answer in time"};
  } else if (error.code == ErrorCode::kWorkerLost) {
    fault = {FaultKind::kCrash, "the device worker was lost: " + error.message};
  } else if (is_left_by_a_kernel(error)) {
    fault = {FaultKind::kDeviceFault, error.message};
  } else {
    return answer;
  }
  for (const uint32_t suspect : suspects) outcomes[suspect].fault = fault;
  drop_worker(outcomes, suspects);
  lost = true;
  return Json::object();
}

Result<void> CudaSession::plan_all(const MeasureRequest& request,
                                   std::vector<ContenderOutcome>& outcomes) {
  PlanLimits limits{.device = options_.plan_device};
  uint64_t inputs = 0, outputs = 0;
  for (const TensorDesc& input : request.problem.inputs) {
    limits.input_bytes.push_back(input.is_host_scalar ? 0 : input.size_bytes());
    inputs += limits.input_bytes.back();
    if (input.is_weight) limits.weights.push_back(static_cast<int32_t>(limits.input_bytes.size() - 1));
  }
  for (const TensorDesc& output : request.problem.outputs) {
    limits.output_bytes.push_back(output.size_bytes());
    outputs += limits.output_bytes.back();
  }
  const size_t kept = 1 + request.contenders.size() * request.value_sets.size();
  const double free = kUsableMemory * static_cast<double>(options_.device.memory_bytes) -
                      static_cast<double>(inputs) - static_cast<double>(outputs) * kept -
                      2.0 * static_cast<double>(options_.device.l2_bytes) - 0x1p29;
  if (free < 0) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("inputs and outputs of {:.1f} GiB don't fit on {}",
                            static_cast<double>(inputs + outputs * kept) / 0x1p30,
                            options_.device.name),
                request.problem.label());
  }
  limits.max_workspace_bytes = static_cast<uint64_t>(free);
  limits.max_prepared_bytes =
      static_cast<uint64_t>(free / static_cast<double>(request.contenders.size()));
  entries_.assign(request.contenders.size(), {});
  for (size_t i = 0; i < request.contenders.size(); ++i) {
    const Artifact& artifact = *request.contenders[i];
    entries_[i].binary = FIB_TRY(read_cuda_binary(artifact));
    PlanRequest plan{.artifact = artifact,
                     .binary = entries_[i].binary,
                     .problem = request.problem,
                     .inputs = request.value_sets.front(),
                     .device = options_.plan_device,
                     .limits = limits};
    for (const auto& [name, symbol] : entries_[i].binary.lowered) plan.limits.kernels.push_back(name);
    if (auto planned = planner_(plan)) {
      entries_[i].plan = *std::move(planned);
      outcomes[i].workspace_bytes = entries_[i].plan.workspace_bytes;
      outcomes[i].prepared_bytes = entries_[i].plan.prepared_bytes;
    } else {
      outcomes[i].fault = std::move(planned).error();
    }
  }
  return {};
}

Result<void> CudaSession::begin(const MeasureRequest& request, std::mt19937_64& random) {
  std::vector<LaunchPlan> plans;
  for (const Entry& entry : entries_) plans.push_back(entry.plan);
  PosedProblem posed = pose_problem(request, plans);
  posed.device.salt = random();
  FIB_CHECK(call({{"command", "begin"}, {"problem", to_json(posed.device)}}, kSlackSeconds));
  for (size_t i = 0; i < posed.originals.size(); ++i) {
    const std::vector<std::byte>& bytes = *posed.originals[i];
    for (size_t offset = 0; offset < bytes.size(); offset += kStagingBytes) {
      const size_t size = std::min(bytes.size() - offset, kStagingBytes);
      stage({reinterpret_cast<const char*>(bytes.data()) + offset, size});
      FIB_CHECK(call({{"command", "upload"}, {"original", i}, {"offset", offset}, {"bytes", size}},
                     kSlackSeconds));
    }
  }
  return {};
}

Result<CudaSession::Race> CudaSession::check_all(const MeasureRequest& request,
                                                 std::vector<ContenderOutcome>& outcomes,
                                                 std::mt19937_64& random) {
  for (const uint32_t index : active_of(outcomes)) {
    const Entry& entry = entries_[index];
    Json names = Json::array();
    for (const auto& [name, symbol] : entry.binary.lowered) names.push_back({name, symbol});
    if (entry.binary.cubin.size() > kStagingBytes) {
      outcomes[index].fault = Fault{FaultKind::kLaunchFailed, "the device binary is too large"};
      continue;
    }
    stage(entry.binary.cubin);
    bool lost = false;
    const Json answer = FIB_TRY(call_with_fault({{"command", "load"},
                                                 {"contender", index},
                                                 {"names", names},
                                                 {"plan", plan_to_json(entry.plan)},
                                                 {"cubin_bytes", entry.binary.cubin.size()}},
                                                kSlackSeconds, {index}, outcomes, lost));
    if (lost) return Race::kWorkerLost;
    if (answer.contains("fault")) outcomes[index].fault = fault_from_json(answer.at("fault"));
  }
  longest_check_s_ = 0.0;
  const double timeout_s = 2.0 * request.config.call_timeout_s + kSlackSeconds;
  for (uint32_t set = 0; set < request.value_sets.size(); ++set) {
    for (const uint32_t index : active_of(outcomes)) {
      const auto start = steady_clock::now();
      bool lost = false;
      const Json answer = FIB_TRY(call_with_fault(
          {{"command", "check"}, {"contender", index}, {"set", set}, {"seed", random()}},
          timeout_s, {index}, outcomes, lost));
      if (lost) return Race::kWorkerLost;
      longest_check_s_ = std::max(longest_check_s_, seconds_since(start));
      ContenderOutcome& outcome = outcomes[index];
      if (answer.contains("fault")) outcome.fault = fault_from_json(answer.at("fault"));
      if (answer.at("lost").get<bool>()) {
        drop_worker(outcomes, {&index, 1});
        return Race::kWorkerLost;
      }
      outcome.prepare_ns = std::max(outcome.prepare_ns, answer.at("prepare_ns").get<double>());
      if (!outcome.fault) ++outcome.calls_checked;
    }
  }
  return Race::kFinished;
}

Result<CudaSession::Race> CudaSession::time_mode(const MeasureRequest& request, TimingMode mode,
                                                 std::vector<ContenderOutcome>& outcomes,
                                                 std::mt19937_64& random) {
  const MeasureConfig& config = request.config;
  // Cold is what ranks; the other modes stand beside it, and may be known half as well.
  const double target_ci = config.target_relative_ci * (mode == TimingMode::kCold ? 1.0 : 2.0);
  const int least_samples = outcomes.size() > 1 ? kLeastPairs : 1;
  std::vector<StoppingRule> rules(
      outcomes.size(), StoppingRule(config.min_samples, config.max_samples, target_ci,
                                    config.max_seconds_per_mode, least_samples));
  for (const uint32_t index : active_of(outcomes)) {
    outcomes[index].timings.push_back({.mode = mode, .clock = clock_});
  }
  const auto start = steady_clock::now();
  BlockRequest block{.mode = mode, .warmup_rounds = 2 + static_cast<uint32_t>(random() % 3)};
  for (uint32_t number = 0;; ++number) {
    block.contenders = active_of(outcomes);
    // All go on until the last one's interval is narrow enough: pairs stay pairs.
    const bool all_done = std::all_of(
        block.contenders.begin(), block.contenders.end(),
        [&](uint32_t index) { return rules[index].done(seconds_since(start)); });
    if (all_done) return Race::kFinished;
    block.rounds = kBlockRounds;
    block.set = static_cast<uint32_t>((number + random() % 2) % request.value_sets.size());
    block.seed = random();
    const double calls = static_cast<double>(block.rounds + block.warmup_rounds) *
                         static_cast<double>(block.contenders.size());
    const double timeout_s = kSlackSeconds + config.call_timeout_s +
                             calls * (0.1 + 10.0 * longest_check_s_);
    bool lost = false;
    const Json reply =
        FIB_TRY(call_with_fault({{"command", "block"}, {"request", to_json(block)}}, timeout_s,
                                block.contenders, outcomes, lost));
    if (lost) return Race::kWorkerLost;
    BlockAnswer answer = block_answer_from_json(reply);
    std::vector<uint32_t> faulty;
    for (ContenderFault& fault : answer.faults) {
      outcomes[fault.contender].fault = std::move(fault.fault);
      faulty.push_back(fault.contender);
    }
    if (answer.lost) {
      drop_worker(outcomes, faulty);
      return Race::kWorkerLost;
    }
    for (const Sample& sample : answer.samples) {
      ContenderOutcome& outcome = outcomes[sample.contender];
      outcome.timings.back().samples.push_back(sample);
      ++outcome.calls_timed;
      if (!outcome.fault) ++outcome.calls_checked;
      rules[sample.contender].add(sample.time_ns);
    }
    for (size_t i = 0; i < answer.kernels.size(); ++i) {
      if (!answer.kernels[i].empty()) outcomes[i].kernels = std::move(answer.kernels[i]);
    }
    block.first_round += block.rounds;
    block.warmup_rounds = 0;
  }
}

Result<std::vector<KeptStats>> CudaSession::compare_output(uint32_t set, uint32_t output,
                                                           const ReferenceValues& exact,
                                                           double max_error_rms) {
  // Whole rows a piece as long as a row fits; a longer row is its own scale anyway.
  const size_t capacity = kStagingBytes / sizeof(float);
  const size_t row_length = static_cast<size_t>(exact.row_length);
  const size_t piece = std::max<size_t>(capacity / (row_length + 1), 1) * row_length;
  CompareRequest request{.set = set,
                         .output = output,
                         .row_length = row_length,
                         .max_error_rms = max_error_rms};
  do {
    request.count = std::min({piece, capacity - 2, exact.values.size() - request.first});
    const size_t first_row = request.first / row_length;
    const size_t end_row = (request.first + request.count + row_length - 1) / row_length;
    request.row_scales = end_row - first_row;
    request.is_last = request.first + request.count == exact.values.size();
    std::byte* to = staging_.bytes().data();
    // By several threads: one alone is slower than the bus.
    parallel_on(kCopyThreads)(
        static_cast<int64_t>(request.count), [&](int64_t begin, int64_t end) {
          std::memcpy(to + begin * sizeof(float), exact.values.data() + request.first + begin,
                      static_cast<size_t>(end - begin) * sizeof(float));
        });
    std::memcpy(to + request.count * sizeof(float), exact.row_scale.data() + first_row,
                request.row_scales * sizeof(float));
    const Json answer = FIB_TRY(
        call({{"command", "compare"}, {"request", to_json(request)}}, kSlackSeconds));
    if (request.is_last) return kept_stats_from_json(answer.at("stats"));
    request.first += request.count;
  } while (true);
}

Result<void> CudaSession::check_kept_draws(const MeasureRequest& request, uint32_t set,
                                           uint32_t output,
                                           std::vector<ContenderOutcome>& outcomes) {
  const size_t bytes = request.problem.outputs[output].size_bytes();
  for (const uint32_t index : active_of(outcomes)) {
    FetchRequest fetch{.contender = index, .set = set, .output = output};
    for (size_t versions = 1; fetch.version < versions; ++fetch.version) {
      const Json answer =
          FIB_TRY(call({{"command", "fetch"}, {"request", to_json(fetch)}}, kSlackSeconds));
      versions = answer.at("versions").get<size_t>();
      const DrawCheck check =
          FIB_TRY(check_draws({.problem = request.problem,
                               .inputs = request.value_sets[set],
                               .output = output,
                               .values = staging_.bytes().first(bytes),
                               .seed = request.config.seed,
                               .threads = static_cast<int>(std::thread::hardware_concurrency())}));
      outcomes[index].checks[output].merge(check.stats);
      outcomes[index].draws[output].add(check, fetch.version);
    }
  }
  return {};
}

Result<void> CudaSession::compare_all(const MeasureRequest& request,
                                      std::vector<ContenderOutcome>& outcomes) {
  const auto active = active_of(outcomes);
  if (active.empty()) return {};
  const auto& outputs = request.problem.outputs;
  for (const uint32_t index : active) {
    outcomes[index].checks.resize(outputs.size());
    outcomes[index].worst_honest_ratio.resize(outputs.size());
    outcomes[index].draws.resize(outputs.size());
  }
  for (uint32_t set = 0; set < request.value_sets.size(); ++set) {
    const ExpectedPtr expected = FIB_TRY(request.expected(set));
    for (uint32_t output = 0; output < outputs.size(); ++output) {
      const ExpectedOutput& wanted = expected->outputs.at(output);
      const auto& tolerances = request.problem.signature->fib.tolerances;
      const auto tolerance = tolerances.find(outputs[output].name);
      const Tolerance wanted_within =
          tolerance == tolerances.end() ? Tolerance{} : tolerance->second;
      if (wanted_within.rule == Tolerance::Rule::kDistribution) {
        FIB_CHECK(check_kept_draws(request, set, output, outcomes));
        continue;
      }
      const double bound = wanted_within.max_error_rms;
      for (const KeptStats& kept : FIB_TRY(compare_output(set, output, wanted.exact, bound))) {
        ContenderOutcome& outcome = outcomes[kept.contender];
        if (outcome.fault) continue;
        const ErrorStats stats = error_stats_of(kept.stats);
        outcome.checks[output].merge(stats);
        double& worst = outcome.worst_honest_ratio[output];
        worst = std::max(worst, honest_ratio(stats, wanted.honest, outputs[output].dtype));
      }
    }
  }
  return {};
}

Result<CudaSession::Race> CudaSession::race(const MeasureRequest& request,
                                            std::vector<ContenderOutcome>& outcomes) {
  const bool is_used = worker_ && worker_->alive();
  FIB_CHECK(open());
  std::mt19937_64 random(request.config.seed);
  if (auto begun = begin(request, random); !begun) {
    if (!is_used) return fail(std::move(begun).error());
    // The last problem's candidate may have left a broken context; a fresh worker has none of it.
    worker_.reset();
    FIB_CHECK(open());
    FIB_CHECK(begin(request, random));
  }
  if (FIB_TRY(check_all(request, outcomes, random)) == Race::kWorkerLost) return Race::kWorkerLost;
  for (const TimingMode mode : request.config.modes) {
    if (active_of(outcomes).empty()) break;
    if (FIB_TRY(time_mode(request, mode, outcomes, random)) == Race::kWorkerLost) {
      return Race::kWorkerLost;
    }
  }
  FIB_CHECK(compare_all(request, outcomes));
  return Race::kFinished;
}

Result<std::vector<ContenderOutcome>> CudaSession::measure(const MeasureRequest& request) {
  std::vector<ContenderOutcome> outcomes(request.contenders.size());
  FIB_CHECK(plan_all(request, outcomes));
  while (!active_of(outcomes).empty()) {
    auto finished = race(request, outcomes);
    if (!finished) {
      worker_.reset();  // in a state that nobody knows
      return fail(std::move(finished).error());
    }
    for (const uint32_t index : active_of(outcomes)) outcomes[index].log = clock_note_;
    if (*finished == Race::kFinished) break;
    // Those that are left start over in a fresh worker.
    for (const uint32_t index : active_of(outcomes)) {
      const ContenderOutcome& old = outcomes[index];
      outcomes[index] = ContenderOutcome{.workspace_bytes = old.workspace_bytes,
                                         .prepared_bytes = old.prepared_bytes};
    }
  }
  return outcomes;
}

}  // namespace

Result<std::unique_ptr<Session>> open_cuda_session(CudaSessionOptions options,
                                                   CudaPlanner planner) {
  auto staging = FIB_TRY(SharedMemory::create(kStagingBytes, "staging"));
  auto session = std::make_unique<CudaSession>(std::move(options), std::move(planner),
                                               std::move(staging));
  FIB_CHECK(session->open());
  return session;
}

}  // namespace fib
