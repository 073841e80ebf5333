#include "agents/search/loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "agents/search/intake.h"

namespace fib::agents {

namespace {

constexpr std::chrono::milliseconds kPoll{50};  // for cancellation and what hangs

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Loop::Loop(const RunTools& tools, const RunOptions& options, const RunHooks& hooks, int64_t run,
           double past_s)
    : tools_(tools),
      options_(options),
      hooks_(hooks),
      clock_(hooks.clock ? hooks.clock : steady_seconds),
      run_(run),
      past_s_(past_s),
      started_s_(clock_()),
      search_(options.plan.search),
      builders_(tools.bench.builders(), mailbox_),
      devices_(tools.bench.devices(), mailbox_) {
  for (const std::shared_ptr<Proposer>& proposer : tools.proposers) {
    proposers_.emplace(proposer->name(), proposer);
  }
}

void Loop::replay(std::vector<CandidateRecord> past) {
  for (CandidateRecord& record : past) remember(std::move(record));
  records_before_ = records_.size();
  next_ = static_cast<int64_t>(records_.size());
}

Result<void> Loop::run() {
  auto ended = work();
  ended_s_ = clock_();
  say_goodbye();
  return ended;
}

Result<void> Loop::work() {
  if (hooks_.on_begin) hooks_.on_begin(progress());
  while (true) {
    FIB_CHECK(launch());
    if (flights_.empty()) return {};
    if (auto letter = mailbox_->wait(kPoll)) FIB_CHECK((*letter)());
    give_up_what_hangs();
    FIB_CHECK(seal_in_order());
    if (hooks_.on_progress) hooks_.on_progress(progress());
    if (is_cancelled()) return stop();
  }
}

// What is being measured is finished, and sealed where all before it are; the rest is left.
Result<void> Loop::stop() {
  end_reason_ = "interrupted";
  end_state_ = RunState::kStopped;
  for (auto& [number, asking] : askings_) asking.cancel();
  builders_.close();
  devices_.close();
  while (auto letter = mailbox_->wait({})) FIB_CHECK((*letter)());
  return seal_in_order();
}

// Proposers that were given up are waited for a little, so that they end with the run if they can.
void Loop::say_goodbye() {
  for (auto& [number, asking] : askings_) asking.cancel();
  const double until_s = steady_seconds() + options_.farewell_s;
  while (!askings_.empty() && steady_seconds() < until_s) {
    if (auto letter = mailbox_->wait(kPoll)) (void)(*letter)();
  }
}

// ---- From nothing to a solution.

Result<void> Loop::launch() {
  const auto seeds = static_cast<int64_t>(options_.plan.seeds.size());
  while (!end_reason_ && next_ < seeds) launch_seed(next_++);
  const auto sealed = static_cast<int64_t>(records_.size());
  while (!end_reason_ && sealed >= seeds && sealed >= search_.known_to(next_)) {
    if ((end_reason_ = used_up())) break;
    const auto decision = search_.decide(next_, [&](const std::string& proposer, int64_t parent) {
      return suits(proposer, parent);
    });
    if (broken_) return fail(*broken_);
    if (!decision) {
      const bool is_nobody_left =
          search_.set_aside().size() == options_.plan.search.proposers.size();
      end_reason_ = is_nobody_left ? "all proposers are set aside" : "nothing left to try";
      break;
    }
    FIB_CHECK(launch_proposal(*decision));
    if (!startup_s_) startup_s_ = session_s();
    ++next_;
  }
  return {};
}

void Loop::launch_seed(int64_t number) {
  const Solution& seed = options_.plan.seeds[static_cast<size_t>(number)];
  Flight& flight = flights_[number];
  flight.record = {.run = run_,
                   .number = number,
                   .island = static_cast<int>(number % options_.plan.search.islands),
                   .proposer = std::string(kSeedProposer),
                   .solution_key = solution_key(seed),
                   .solution_name = seed.name};
  flight.solution = std::make_shared<const Solution>(seed);
  start_build(flight);
}

Result<void> Loop::launch_proposal(const Decision& decision) {
  ProposalRequest request = FIB_TRY(request_for(decision));
  const int64_t number = decision.number;
  Flight& flight = flights_[number];
  flight.decision = decision;
  flight.record = {.run = run_,
                   .number = number,
                   .island = decision.island,
                   .proposer = decision.proposer,
                   .parents = {decision.parent},
                   .seed = decision.seed};
  flight.parent = FIB_TRY(ancestor(decision.parent));
  flight.deadline_s = clock_() + options_.proposal_timeout_s;
  askings_.try_emplace(number, proposers_.at(decision.proposer), std::move(request), mailbox_,
                       [this, number](Result<ProposalOutcome> outcome) -> Letter {
                         return [this, number, outcome = std::move(outcome)]() mutable {
                           return on_proposed(number, std::move(outcome));
                         };
                       });
  return {};
}

Result<ProposalRequest> Loop::request_for(const Decision& decision) {
  // Copied once for all that are decided on with the same knowledge.
  const auto known = search_.known_to(decision.number);
  if (!history_ || static_cast<int64_t>(history_->size()) != known) {
    history_ = std::make_shared<const std::vector<CandidateRecord>>(records_.begin(),
                                                                    records_.begin() + known);
  }
  ProposalRequest request{.signature = options_.signature,
                          .target = options_.target,
                          .architecture = options_.architecture,
                          .hardware = options_.hardware,
                          .seed = decision.seed,
                          .parent = *FIB_TRY(ancestor(decision.parent)),
                          .history = history_};
  for (const int64_t other : decision.others) {
    request.others.push_back(*FIB_TRY(ancestor(other)));
  }
  return request;
}

Result<std::shared_ptr<const Ancestor>> Loop::ancestor(int64_t number) {
  constexpr size_t kToHand = 64;
  if (const auto found = ancestors_.find(number); found != ancestors_.end()) return found->second;
  if (ancestors_.size() >= kToHand) ancestors_.clear();
  CandidateRecord record = FIB_TRY(tools_.archive.candidate(run_, number));
  Solution solution = FIB_TRY(tools_.store.solution(record.solution_key));
  solution.name = record.solution_name;  // the store keeps the first name of a key
  auto ancestor = std::make_shared<const Ancestor>(std::move(solution), std::move(record));
  ancestors_[number] = ancestor;
  return ancestor;
}

bool Loop::suits(const std::string& proposer, int64_t parent) {
  const auto [found, is_new] = suits_.try_emplace({proposer, parent}, false);
  if (!is_new) return found->second;
  const auto its = ancestor(parent);
  if (!its) {
    broken_ = its.error();
    return false;
  }
  try {
    found->second = proposers_.at(proposer)->suits((*its)->solution);
  } catch (const std::exception&) {
    found->second = false;  // whoever can't even say so has nothing to do
  }
  return found->second;
}

Result<void> Loop::on_proposed(int64_t number, Result<ProposalOutcome> outcome) {
  askings_.at(number).join();
  askings_.erase(number);
  const auto found = flights_.find(number);
  const bool is_late = found == flights_.end() || found->second.step != Step::kProposing;
  if (outcome) {
    unsealed_.tokens += outcome->cost.prompt_tokens + outcome->cost.answer_tokens;
    unsealed_.money += outcome->cost.money;
  }
  if (is_late || end_state_ == RunState::kStopped) return {};
  if (!outcome) return fail(outcome.error());
  Flight& flight = found->second;
  flight.record.cost = outcome->cost;
  flight.exchanges = std::move(outcome->exchanges);
  flight.record.note = one_line(outcome->note);
  for (const int64_t other : flight.decision.others) {
    if (std::ranges::count(outcome->lenders, other) > 0) flight.record.parents.push_back(other);
  }
  const int64_t seed = seed_of_.at(static_cast<size_t>(flight.decision.parent));
  auto taken = take_in({.signature = *options_.signature,
                        .parent = *flight.parent,
                        .seed_name = options_.plan.seeds[static_cast<size_t>(seed)].name,
                        .run = run_,
                        .number = number,
                        .proposer = flight.record.proposer},
                       *std::move(outcome));
  if (auto* refusal = std::get_if<Refusal>(&taken)) {
    end_flight(flight, CandidateFate::kRefused, std::move(*refusal));
    return {};
  }
  flight.solution = std::make_shared<const Solution>(std::get<Solution>(std::move(taken)));
  flight.record.solution_key = solution_key(*flight.solution);
  flight.record.solution_name = flight.solution->name;
  // Not worth building where it is known already; whether it is will be settled in order.
  if (earlier_with_key(flight)) {
    end_flight(flight, CandidateFate::kRefused);
  } else {
    start_build(flight);
  }
  return {};
}

void Loop::give_up(Flight& flight, Refusal refusal) {
  askings_.at(flight.record.number).cancel();
  end_flight(flight, CandidateFate::kRefused, std::move(refusal));
}

void Loop::give_up_what_hangs() {
  const bool is_time_up = options_.budget.seconds > 0.0 && elapsed_s() >= options_.budget.seconds;
  for (auto& [number, flight] : flights_) {
    if (flight.step != Step::kProposing) continue;
    if (clock_() > flight.deadline_s) {
      flight.record.cost.seconds = options_.proposal_timeout_s;
      give_up(flight, {"timeout",
                       fmt::format("gave no answer within {:.0f} s", options_.proposal_timeout_s)});
    } else if (is_time_up) {
      give_up(flight, {"budget", "the run's time was up before it answered"});
    }
  }
}

// ---- From a solution to its fate.

void Loop::start_build(Flight& flight) {
  flight.step = Step::kBuilding;
  builders_.submit(
      flight.record.number,
      [this, number = flight.record.number, solution = flight.solution](int) -> Letter {
        auto built = tools_.bench.build(*solution);
        return [this, number, built = std::move(built)]() mutable {
          return on_built(number, std::move(built));
        };
      });
}

Result<void> Loop::on_built(int64_t number, Result<BuiltCandidate> built) {
  Flight& flight = flights_.at(number);
  flight.built = std::make_shared<const BuiltCandidate>(FIB_TRY(std::move(built)));
  CandidateRecord& record = flight.record;
  record.stage = CandidateStage::kBuilt;
  record.build_s = flight.built->build_s;
  record.behaviour = flight.built->behaviour;
  if (!flight.built->compiles) {
    const std::string& log = flight.built->log;
    end_flight(flight, CandidateFate::kFailed, {"compile-error", log.substr(0, log.find('\n'))});
    return {};
  }
  record.code_key = flight.built->code_key;
  if (earlier_with_code(flight)) {
    end_flight(flight, CandidateFate::kDuplicate);  // settled in order
  } else {
    start_screening(flight);
  }
  return {};
}

void Loop::start_screening(Flight& flight) {
  flight.step = Step::kOnDevice;
  devices_.submit(flight.record.number,
                  [this, number = flight.record.number, solution = flight.solution,
                   built = flight.built](int device) -> Letter {
                    const double started_s = clock_();
                    auto screening = tools_.bench.screen(device, *solution, *built);
                    return [this, number, busy_s = clock_() - started_s,
                            screening = std::move(screening)]() mutable {
                      device_busy_s_ += busy_s;
                      return on_screened(number, std::move(screening));
                    };
                  });
}

Result<void> Loop::on_screened(int64_t number, Result<Screening> result) {
  Flight& flight = flights_.at(number);
  const Screening screening = FIB_TRY(std::move(result));
  CandidateRecord& record = flight.record;
  record.stage = CandidateStage::kScreened;
  record.device_s += screening.device_s;
  record.screen_speedup = screening.speedup;
  flight.verdicts = {screening.verdict};
  if (screening.verdict.status != VerdictStatus::kPassed) {
    end_failed(flight, flight.verdicts);
    return {};
  }
  // The best is the one that was known when this was decided on: who comes in first doesn't matter.
  const double best = flight.decision.best
                          ? records_[static_cast<size_t>(*flight.decision.best)].screen_speedup
                          : 0.0;
  if (screening.speedup_high > 0.0 &&
      screening.speedup_high < best * (1.0 - options_.plan.staging.slow_margin)) {
    end_flight(flight, CandidateFate::kSlow,
               {"slow", fmt::format("{:.3f}x of the best on the small workload, {:.3f} at most",
                                    screening.speedup / best, screening.speedup_high / best)});
    return {};
  }
  if (auto request = FIB_TRY(race_for(flight, screening))) {
    start_race(flight, *std::move(request));
  } else {
    start_session(flight, Session::kJudge);
  }
  return {};
}

// Seeds are what others are compared with, and have to be known.
Result<std::optional<RaceRequest>> Loop::race_for(const Flight& flight,
                                                  const Screening& screening) {
  const std::optional<int64_t> best = flight.decision.best;
  if (!options_.plan.staging.has_race || flight.is_seed() || !best) return std::nullopt;
  if (!rival_ || rival_->first != *best) {
    rival_ = {*best, FIB_TRY(rival_of(records_[static_cast<size_t>(*best)]))};
  }
  const bool is_known = rival_->second.speedup_low > 0.0 && screening.speedup > 0.0;
  if (!is_known) return std::nullopt;
  return RaceRequest{
      .rival = rival_->second, .screening = screening, .margin = options_.plan.staging.race_margin};
}

Result<Rival> Loop::rival_of(const CandidateRecord& best) const {
  if (best.number == 0) return Rival{};  // the baseline against itself is 1, whatever was measured
  Rival rival{.speedup_low = best.speedup_low};
  for (const int64_t id : best.verdicts) {
    const Verdict verdict = FIB_TRY(tools_.store.get(id));
    if (verdict.speedup) rival.speedups[verdict.workload] = *verdict.speedup;
  }
  return rival;
}

void Loop::start_race(Flight& flight, RaceRequest request) {
  devices_.submit(flight.record.number,
                  [this, number = flight.record.number, solution = flight.solution,
                   built = flight.built, request = std::move(request)](int device) -> Letter {
                    const double started_s = clock_();
                    auto race = tools_.bench.race(device, *solution, *built, request);
                    return [this, number, busy_s = clock_() - started_s,
                            race = std::move(race)]() mutable {
                      device_busy_s_ += busy_s;
                      return on_raced(number, std::move(race));
                    };
                  });
}

Result<void> Loop::on_raced(int64_t number, Result<Race> result) {
  Flight& flight = flights_.at(number);
  Race race = FIB_TRY(std::move(result));
  note_race(flight.record, race);
  flight.verdicts = std::move(race.verdicts);
  if (flight.verdicts.back().status != VerdictStatus::kPassed) {
    end_failed(flight, flight.verdicts);
  } else if (race.is_beaten) {
    end_flight(flight, CandidateFate::kSlow,
               {"beaten", fmt::format("{:.3f}x the baseline's speed after {} of the workloads, "
                                      "{:.3f} at most: slower than candidate {}",
                                      race.speedup, race.workloads, race.speedup_high,
                                      flight.decision.best.value())});
  } else {
    start_session(flight, Session::kJudge);
  }
  return {};
}

void Loop::start_session(Flight& flight, Session session) {
  flight.step = Step::kOnDevice;
  flight.was_paired_again = flight.was_paired_again || session != Session::kJudge;
  devices_.submit(flight.record.number,
                  [this, number = flight.record.number, solution = flight.solution,
                   built = flight.built, session](int device) -> Letter {
                    const double started_s = clock_();
                    auto judgement = session == Session::kConfirmation
                                         ? tools_.bench.confirm(device, *solution, *built)
                                         : tools_.bench.judge(device, *solution, *built);
                    return [this, number, session, busy_s = clock_() - started_s,
                            judgement = std::move(judgement)]() mutable {
                      device_busy_s_ += busy_s;
                      return on_judged(number, session, std::move(judgement));
                    };
                  });
}

Result<void> Loop::on_judged(int64_t number, Session session, Result<Judgement> result) {
  Flight& flight = flights_.at(number);
  Judgement judgement = FIB_TRY(std::move(result));
  if (session == Session::kConfirmation) {
    note_confirmation(flight.record, judgement);
  } else {
    note_judgement(flight.record, judgement);
  }
  flight.session_s = judgement.device_s;
  flight.verdicts = std::move(judgement.verdicts);
  if (session == Session::kControl) {
    end_flight(flight, CandidateFate::kDuplicate);
  } else if (judgement.is_ranked()) {
    end_flight(flight, CandidateFate::kMeasured);
  } else {
    end_failed(flight, flight.verdicts);
    if (number == 0 && judgement.passed) return no_yardstick(flight.record);
  }
  return {};
}

// Who can't be timed beside itself gives nobody a speedup.
Failure Loop::no_yardstick(const CandidateRecord& baseline) const {
  return fail(ErrorCode::kInvalidInput, "the baseline is " + baseline.refusal.message,
              baseline.solution_name,
              "leave these workloads out (--limit, --workloads), or search on a quieter machine");
}

void Loop::end_flight(Flight& flight, CandidateFate fate, Refusal refusal) {
  flight.step = Step::kDone;
  flight.record.fate = fate;
  flight.record.refusal = std::move(refusal);
}

void Loop::end_failed(Flight& flight, std::span<const Verdict> verdicts) {
  end_flight(flight, CandidateFate::kFailed, refusal_of(verdicts));
}

}  // namespace fib::agents
