#include "harness/paired_session.h"

#include <fmt/format.h>

#include <array>

#include "harness/judge.h"

namespace fib {
namespace {

constexpr std::array kContenders = {kPairCandidate, kPairIncumbent, kPairControl};

std::string words_of(const Verdict& verdict) {
  return fmt::format("{} ({}): {}", trace_status_name(verdict.status), verdict.reason,
                     verdict.message);
}

// The cold samples of all contenders, as one timing.
ModeTiming merge_timings(const std::vector<ContenderOutcome>& outcomes) {
  ModeTiming merged{.mode = TimingMode::kCold};
  for (const ContenderOutcome& outcome : outcomes) {
    for (const ModeTiming& timing : outcome.timings) {
      if (timing.mode != TimingMode::kCold) continue;
      merged.clock = timing.clock;
      merged.samples.insert(merged.samples.end(), timing.samples.begin(), timing.samples.end());
    }
  }
  return merged;
}

void replace_by_failure(const Verdict& failure, Verdict& verdict) {
  Verdict failed = failure;
  failed.incumbent = verdict.incumbent;
  failed.incumbent_key = verdict.incumbent_key;
  verdict = std::move(failed);
}

void note_estimate(const PairedEstimate& estimate, Verdict& verdict) {
  verdict.paired = estimate.result;
  verdict.speedup = estimate.speedup;
  verdict.speedup_low = estimate.speedup_low;
  verdict.speedup_high = estimate.speedup_high;
  verdict.noise_floor = estimate.noise_floor;
}

}  // namespace

PairOutcome measure_pair(Session& session, const PairRequest& request) {
  MeasureRequest measure{.contenders = {request.candidate_artifact, request.incumbent_artifact,
                                        request.incumbent_artifact},
                         .problem = request.posed.problem,
                         .value_sets = request.posed.value_sets,
                         .expected = request.expected,
                         .config = paired_config(request.config)};
  measure.config.seed = request.posed.session_seed;
  PairOutcome pair;
  const auto outcomes = session.measure(measure);
  if (!outcomes) {
    pair.note = fmt::format("not timed beside '{}': {}", request.incumbent.name,
                            outcomes.error().to_string());
    return pair;
  }
  const Result<ExpectedPtr> yardstick = request.expected(0);
  std::array<Verdict, kPairContenders> verdicts;
  for (const uint32_t contender : kContenders) {
    const bool is_candidate = contender == kPairCandidate;
    verdicts[contender] =
        judge({.problem = request.posed.problem,
               .solution = is_candidate ? request.candidate : request.incumbent,
               .artifact = is_candidate ? *request.candidate_artifact : *request.incumbent_artifact,
               .device = session.device(),
               .outcome = outcomes->at(contender),
               .inputs = request.posed.value_sets.front(),
               .expected = yardstick ? yardstick->get() : nullptr});
  }
  for (const uint32_t contender : {kPairIncumbent, kPairControl}) {
    if (verdicts[contender].status == VerdictStatus::kPassed) continue;
    pair.note = fmt::format("the incumbent '{}' did not pass itself, {}", request.incumbent.name,
                            words_of(verdicts[contender]));
    return pair;
  }
  if (verdicts[kPairCandidate].status != VerdictStatus::kPassed) {
    pair.note = fmt::format("it failed while it was timed beside '{}'", request.incumbent.name);
    pair.failure = std::move(verdicts[kPairCandidate]);
    return pair;
  }
  pair.timing = merge_timings(*outcomes);
  pair.estimate = judge_pair(pair.timing.samples, request.least_noise_floor);
  if (!pair.estimate) {
    pair.note = fmt::format("too few rounds beside '{}' to compare", request.incumbent.name);
  }
  return pair;
}

void note_pair(const PairOutcome& pair, Verdict& verdict) {
  if (pair.failure) replace_by_failure(*pair.failure, verdict);
  verdict.paired_note = pair.note;
  if (!pair.timing.samples.empty()) verdict.paired_samples.push_back(pair.timing);
  if (pair.estimate) note_estimate(*pair.estimate, verdict);
}

void note_confirmation(const PairOutcome& again, Verdict& verdict) {
  if (again.failure) {
    replace_by_failure(*again.failure, verdict);
    verdict.paired_note = again.note;
    return;
  }
  if (!again.estimate) {
    verdict.paired_note = "not confirmed: " + again.note;
    return;
  }
  verdict.paired_samples.push_back(again.timing);
  const double first = *verdict.speedup;
  note_estimate(*again.estimate, verdict);
  verdict.is_confirmed = again.estimate->result == PairedResult::kFaster;
  if (verdict.is_confirmed) return;
  verdict.paired = PairedResult::kAmbiguous;
  verdict.paired_note = fmt::format("faster at first ({:.3f}x), not when timed again", first);
}

}  // namespace fib
