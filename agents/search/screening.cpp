#include "agents/search/screening.h"

#include <algorithm>
#include <numeric>

#include "harness/judge.h"
#include "harness/paired.h"
#include "harness/roofline.h"
#include "leaderboard/weighting.h"
#include "signatures/base/hash.h"

namespace fib::agents {
namespace {

// What a dozen calls of each contender can be made of in some tens of milliseconds: every call has
// its inputs filled and its outputs looked at.
constexpr double kQuickBytes = 0x1p28;
constexpr double kQuickFloorNs = 1e6;
constexpr double kAsQuick = 2.0;
constexpr double kAssumedGbps = 100.0;  // where the ceilings aren't known
constexpr double kLeastNs = 1.0;

// Times the least time: slower than a beginner's honest work.
constexpr double kHangsBeyond = 1000.0;

struct Size {
  double bytes = 0.0;
  double floor_ns = 0.0;
  double weight = 0.0;
};

double floor_of(const PosedProblem& posed, const DeviceInfo& device) {
  return roofline_of(posed.problem, posed.value_sets.front(), device).floor_ns;
}

double call_timeout_s(const PosedProblem& posed, const LiveBenchOptions& options) {
  const double floor_s = floor_of(posed, options.devices.front()) * 1e-9;
  return std::min(std::max(options.screening.call_timeout_s, kHangsBeyond * floor_s),
                  options.evaluation.measure.call_timeout_s);
}

Size size_of(const PosedProblem& posed, const DeviceInfo& device) {
  Size size{.weight = std::max(posed.problem.workload.weight, kLeastWeight)};
  for (const auto* tensors : {&posed.problem.inputs, &posed.problem.outputs}) {
    for (const TensorDesc& tensor : *tensors) {
      size.bytes += static_cast<double>(tensor.size_bytes());
    }
  }
  const double floor_ns = floor_of(posed, device);
  size.floor_ns = std::max(floor_ns > 0.0 ? floor_ns : size.bytes / kAssumedGbps, kLeastNs);
  return size;
}

const ModeTiming* cold_of(const ContenderOutcome& outcome) {
  const auto found =
      std::find_if(outcome.timings.begin(), outcome.timings.end(),
                   [](const ModeTiming& timing) { return timing.mode == TimingMode::kCold; });
  return found == outcome.timings.end() ? nullptr : &*found;
}

}  // namespace

Result<size_t> choose_screening_problem(const std::vector<PosedPtr>& posed,
                                        const DeviceInfo& device) {
  std::vector<Size> sizes;
  for (const PosedPtr& problem : posed) sizes.push_back(size_of(*problem, device));
  if (sizes.empty()) return fail(ErrorCode::kInvalidInput, "there is no workload to screen on");
  const auto least = [&](double Size::*figure) {
    return (*std::ranges::min_element(sizes, {}, figure)).*figure;
  };
  const double most_bytes = std::max(kQuickBytes, kAsQuick * least(&Size::bytes));
  const double most_ns = std::max(kQuickFloorNs, kAsQuick * least(&Size::floor_ns));
  std::vector<size_t> quick;
  double traffic = 0.0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i].bytes > most_bytes || sizes[i].floor_ns > most_ns) continue;
    quick.push_back(i);
    traffic += sizes[i].weight;
  }
  // The shortest and the smallest may be two; then it is the one of fewer bytes.
  if (quick.empty()) {
    return static_cast<size_t>(std::ranges::min_element(sizes, {}, &Size::bytes) - sizes.begin());
  }
  std::ranges::stable_sort(quick, {}, [&](size_t i) { return sizes[i].floor_ns; });
  double passed = 0.0;
  const auto middle = std::ranges::find_if(quick, [&](size_t i) {
    passed += sizes[i].weight;
    return passed >= traffic / 2.0;
  });
  return middle == quick.end() ? quick.back() : *middle;
}

double least_time_ns(const PosedProblem& posed, const DeviceInfo& device) {
  return size_of(posed, device).floor_ns;
}

Screen::Screen(PosedPtr posed, const LiveBenchOptions& options)
    : posed_(std::move(posed)),
      config_{.modes = {TimingMode::kCold},
              .value_sets = 1,
              .min_samples = options.screening.min_samples,
              .max_samples = options.screening.max_samples,
              .target_relative_ci = options.screening.target_relative_ci,
              .max_seconds_per_mode = options.screening.max_seconds,
              .call_timeout_s = call_timeout_s(*posed_, options),
              .seed = posed_->session_seed},
      expected_(options.expected),
      threads_(options.evaluation.threads) {}

Result<Screen> Screen::make(const Problem& problem, const LiveBenchOptions& options) {
  MeasureConfig config = options.evaluation.measure;
  config.value_sets = 1;
  config.seed = Hasher().add("screening").add(config.seed).u64();
  PosedPtr posed = FIB_TRY(pose(problem, config));
  FIB_TRY(
      options.expected.get(posed->problem, posed->value_sets.front(), options.evaluation.threads));
  return Screen(std::move(posed), options);
}

MeasureRequest Screen::request(std::vector<ArtifactPtr> contenders) const {
  return {.contenders = std::move(contenders),
          .problem = posed_->problem,
          .value_sets = {posed_->value_sets.front()},
          .expected =
              [this](size_t set) {
                return expected_.get(posed_->problem, posed_->value_sets[set], threads_);
              },
          .config = config_};
}

Result<Screening> Screen::compare(Session& session, const Entrant& candidate,
                                  const Entrant& baseline) const {
  MeasureRequest measure = request({candidate.artifact, baseline.artifact});
  measure.config.seed =
      Hasher().add(config_.seed).add(candidate.artifact->solution_key).u64();  // places and order
  const std::vector<ContenderOutcome> outcomes = FIB_TRY(session.measure(measure));
  const ContenderOutcome &own = outcomes.at(0), &other = outcomes.at(1);
  const Result<ExpectedPtr> yardstick =
      own.checks.empty() ? Result<ExpectedPtr>(nullptr) : measure.expected(0);
  Screening screening;
  screening.verdict = judge({.problem = posed_->problem,
                             .solution = candidate.solution,
                             .artifact = *candidate.artifact,
                             .device = session.device(),
                             .outcome = own,
                             .inputs = posed_->value_sets.front(),
                             .expected = yardstick ? yardstick->get() : nullptr});
  const ModeTiming *own_times = cold_of(own), *other_times = cold_of(other);
  if (screening.verdict.status != VerdictStatus::kPassed) return screening;
  if (other.fault || other_times == nullptr) {
    // Not its fault; the paired session will look into it.
    screening.verdict.log += "the baseline was not timed beside it\n";
    return screening;
  }
  if (const auto estimate = estimate_speedup(own_times->samples, other_times->samples)) {
    screening.speedup = estimate->speedup;
    screening.speedup_low = estimate->speedup_low;
    screening.speedup_high = estimate->speedup_high;
  }
  return screening;
}

Result<void> Screen::probe(Session& session, const Entrant& baseline) const {
  const std::vector<ContenderOutcome> outcomes =
      FIB_TRY(session.measure(request({baseline.artifact})));
  if (!outcomes.front().fault) return {};
  return fail(ErrorCode::kEnvironment,
              "the baseline fails by itself: " + outcomes.front().fault->message,
              baseline.solution.name, "`fib submit` of the baseline says what is wrong");
}

}  // namespace fib::agents
