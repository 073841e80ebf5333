// From a candidate's fate to the archive. All before it are sealed by then, so what is said here
// doesn't depend on the order in which anything came in.

#include <fmt/format.h>

#include <algorithm>

#include "agents/feedback/feedback.h"
#include "agents/search/chance.h"
#include "agents/search/loop.h"
#include "harness/local_time.h"

namespace fib::agents {

namespace {

// A speedup whose interval lies above the best's is better by more than noise.
bool is_clearly_better(const CandidateRecord& record, const CandidateRecord& best) {
  return record.speedup_low > best.speedup_high;
}

}  // namespace

std::optional<int64_t> Loop::earlier_with_key(const Flight& flight) const {
  const std::string& key = flight.record.solution_key;
  if (const auto found = by_key_.find(key); found != by_key_.end()) return found->second;
  for (const auto& [number, other] : flights_) {
    if (number < flight.record.number && other.record.solution_key == key) return number;
  }
  return std::nullopt;
}

std::optional<int64_t> Loop::earlier_with_code(const Flight& flight) const {
  const std::string& code = flight.record.code_key;
  if (code.empty()) return std::nullopt;
  if (const auto found = by_code_.find(code); found != by_code_.end()) return found->second;
  for (const auto& [number, other] : flights_) {
    if (number < flight.record.number && other.record.code_key == code) return number;
  }
  return std::nullopt;
}

Result<void> Loop::seal_in_order() {
  while (!flights_.empty()) {
    Flight& flight = flights_.begin()->second;
    if (flight.step != Step::kDone || !settle(flight)) return {};
    FIB_CHECK(seal(flight));
    flights_.erase(flights_.begin());
  }
  return {};
}

bool Loop::settle(Flight& flight) {
  CandidateRecord& record = flight.record;
  if (!flight.solution) return true;  // refused
  if (const auto same = earlier_with_key(flight)) {
    // It may have been built and measured while that wasn't known; nothing of it counts.
    record = as_proposed(record);
    flight.solution = nullptr;
    end_flight(flight, CandidateFate::kRefused,
               {"tried-before", fmt::format("is candidate {} once more", *same)});
    return true;
  }
  if (const auto twin = earlier_with_code(flight)) return settle_duplicate(flight, *twin);
  if (record.fate == CandidateFate::kDuplicate) {
    start_screening(flight);  // what it seemed to be a copy of was itself refused
    return false;
  }
  if (!flight.was_paired_again && deserves_confirmation(record)) {
    start_session(flight, Session::kConfirmation);
    return false;
  }
  return true;
}

bool Loop::settle_duplicate(Flight& flight, int64_t twin) {
  CandidateRecord& record = flight.record;
  const bool is_control = records_[static_cast<size_t>(twin)].fate == CandidateFate::kMeasured &&
                          chance(options_.plan.search.seed, record.number, ChanceFor::kControl) <
                              options_.plan.staging.control_share;
  if (is_control && record.stage < CandidateStage::kJudged) {
    start_session(flight, Session::kControl);
    return false;
  }
  CandidateRecord duplicate = as_proposed(record);
  duplicate.solution_key = record.solution_key;
  duplicate.solution_name = record.solution_name;
  duplicate.code_key = record.code_key;
  duplicate.build_s = record.build_s;
  duplicate.behaviour = flight.built->behaviour;
  duplicate.duplicate_of = twin;
  duplicate.stage = CandidateStage::kBuilt;
  if (is_control) {
    duplicate.stage = CandidateStage::kJudged;
    duplicate.speedup = record.speedup;
    duplicate.speedup_low = record.speedup_low;
    duplicate.speedup_high = record.speedup_high;
    duplicate.verdicts = record.verdicts;
    duplicate.device_s = flight.session_s;
  }
  record = std::move(duplicate);
  end_flight(flight, CandidateFate::kDuplicate,
             {"duplicate", fmt::format("has the machine code of candidate {}", twin)});
  return true;
}

bool Loop::deserves_confirmation(const CandidateRecord& record) const {
  const Staging& staging = options_.plan.staging;
  const auto best = search_.best();
  return record.fate == CandidateFate::kMeasured && record.proposer != kSeedProposer && best &&
         is_clearly_better(record, records_[static_cast<size_t>(*best)]) &&
         confirmations_ < staging.most_confirmations &&
         record.number - last_confirmation_ >= staging.confirm_interval;
}

Result<void> Loop::seal(Flight& flight) {
  CandidateRecord& record = flight.record;
  if (flight.solution) FIB_CHECK(tools_.store.add_solution(*flight.solution));
  record.feedback = feedback_of(flight);
  record.timestamp = local_timestamp();
  FIB_CHECK(tools_.archive.add(record, flight.exchanges));
  unsealed_.tokens -= record.cost.prompt_tokens + record.cost.answer_tokens;
  unsealed_.money -= record.cost.money;
  if (hooks_.on_candidate) hooks_.on_candidate(record);
  remember(std::move(record));
  return {};
}

// Of who can't become a parent there is nothing to tell.
Json Loop::feedback_of(const Flight& flight) const {
  const CandidateRecord& record = flight.record;
  if (!flight.solution || record.fate == CandidateFate::kDuplicate) return {};
  FeedbackSource source{.solution = *flight.solution,
                        .build_log = flight.built->log,
                        .compiles = flight.built->compiles,
                        .verdicts = flight.verdicts,
                        .behaviour = record.behaviour,
                        .counters = {},
                        .speedup = record.speedup,
                        .speedup_low = record.speedup_low,
                        .speedup_high = record.speedup_high};
  if (flight.parent) {
    source.parent = &flight.parent->solution;
    source.parent_record = flight.parent->record;
  }
  return make_feedback(source);
}

void Loop::remember(CandidateRecord record) {
  search_.record(record);
  tally_.add(record);
  const int64_t number = record.number;
  const bool has_solution = record.fate != CandidateFate::kRefused;
  if (has_solution) by_key_.emplace(record.solution_key, number);
  if (!record.code_key.empty()) by_code_.emplace(record.code_key, number);
  seed_of_.push_back(
      record.parents.empty() ? number : seed_of_.at(static_cast<size_t>(record.parents.front())));
  if (record.stage == CandidateStage::kConfirmed) {
    ++confirmations_;
    last_confirmation_ = number;
  }
  record.feedback = Json();  // the archive has it
  records_.push_back(std::move(record));
}

// ---- The session as a whole.

std::optional<int64_t> Loop::best() const {
  std::optional<int64_t> best;
  for (const CandidateRecord& record : records_) {
    if (record.fate != CandidateFate::kMeasured) continue;
    if (!best || record.speedup_low > records_[static_cast<size_t>(*best)].speedup_low) {
      best = record.number;
    }
  }
  return best;
}

Result<void> Loop::confirm_best() {
  if (end_state_ != RunState::kFinished) return {};
  for (int tries = 0; tries < options_.final_confirmations && !is_cancelled(); ++tries) {
    const auto number = best();
    if (!number) return {};
    CandidateRecord& record = records_[static_cast<size_t>(*number)];
    if (record.proposer == kSeedProposer || record.is_confirmed) return {};
    if (hooks_.on_progress) {
      RunProgress now = progress();
      now.confirming = number;
      hooks_.on_progress(now);
    }
    const auto candidate = FIB_TRY(ancestor(*number));
    const BuiltCandidate built = FIB_TRY(tools_.bench.build(candidate->solution));
    const Judgement judgement = FIB_TRY(tools_.bench.confirm(0, candidate->solution, built));
    note_confirmation(record, judgement);
    if (!judgement.is_ranked()) {
      record.fate = CandidateFate::kFailed;
      record.refusal = refusal_of(judgement.verdicts);
    }
    CandidateRecord full = record;
    full.feedback = candidate->record.feedback;
    FIB_CHECK(tools_.archive.confirm(full));
    ancestors_.erase(*number);
    if (hooks_.on_candidate) hooks_.on_candidate(full);
  }
  return {};
}

bool Loop::is_gain(const CandidateRecord& record) const {
  if (record.proposer == kSeedProposer || record.speedup_low <= 1.0) return false;
  return std::ranges::none_of(records_, [&](const CandidateRecord& other) {
    return other.proposer == kSeedProposer && other.fate == CandidateFate::kMeasured &&
           other.speedup >= record.speedup_low;
  });
}

Amounts Loop::spent() const {
  Amounts spent = tally_.spent();
  const auto seeds = static_cast<int64_t>(options_.plan.seeds.size());
  spent.candidates = std::max<int64_t>(0, next_ - seeds);
  spent.seconds = elapsed_s();
  spent.tokens += unsealed_.tokens;
  spent.money += unsealed_.money;
  return spent;
}

std::optional<std::string> Loop::used_up() const {
  const Amounts& budget = options_.budget;
  const Amounts used = spent();
  if (budget.candidates > 0 && used.candidates >= budget.candidates) {
    return fmt::format("budget: {} candidates", budget.candidates);
  }
  if (budget.seconds > 0.0 && used.seconds >= budget.seconds) {
    return fmt::format("budget: {:.0f} s", budget.seconds);
  }
  if (budget.tokens > 0 && used.tokens >= budget.tokens) {
    return fmt::format("budget: {} tokens", budget.tokens);
  }
  if (budget.money > 0.0 && used.money >= budget.money) {
    return fmt::format("budget: {:g} of money", budget.money);
  }
  return std::nullopt;
}

// Of those whose numbers begin at `since`.
double Loop::candidates_per_hour(size_t since, double seconds) const {
  const size_t sealed = records_.size() - std::min(since, records_.size());
  return seconds > 0.0 ? static_cast<double>(sealed) / seconds * 3600.0 : 0.0;
}

RunProgress Loop::progress() const {
  const double session_s = std::max(this->session_s(), 1e-9);
  RunProgress progress{.run = run_, .best = std::nullopt, .tally = tally_, .spent = spent()};
  if (const auto best = search_.best()) progress.best = records_[static_cast<size_t>(*best)];
  for (const auto& [number, flight] : flights_) {
    progress.proposing += flight.step == Step::kProposing ? 1 : 0;
    progress.building += flight.step == Step::kBuilding ? 1 : 0;
    progress.on_device += flight.step == Step::kOnDevice ? 1 : 0;
  }
  progress.candidates_per_hour = candidates_per_hour(records_before_, session_s);
  progress.device_idle_share =
      std::clamp(1.0 - device_busy_s_ / (tools_.bench.devices() * session_s), 0.0, 1.0);
  return progress;
}

RunSummary Loop::summary() const {
  const RunProgress now = progress();
  const size_t begun = std::max(records_before_, options_.plan.seeds.size());
  const double startup_s = startup_s_.value_or(session_s());
  RunSummary summary{
      .run = run_,
      .state = end_state_,
      .end_reason = end_reason_.value_or(""),
      .tally = tally_,
      .spent = now.spent,
      .best = std::nullopt,
      .set_aside = search_.set_aside(),
      .candidates_per_hour = now.candidates_per_hour,
      .startup_s = startup_s,
      .steady_candidates_per_hour = candidates_per_hour(begun, session_s() - startup_s),
      .device_idle_share = now.device_idle_share};
  if (const auto number = best()) {
    summary.best = records_[static_cast<size_t>(*number)];
    summary.is_gain = is_gain(*summary.best);
  }
  return summary;
}

}  // namespace fib::agents
