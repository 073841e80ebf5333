#pragma once

// One session of a run: from the records there are to its end. Only the thread that calls run()
// touches what is here; builders, devices and proposers report by letter.

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/search/asking.h"
#include "agents/search/candidate.h"
#include "agents/search/lanes.h"
#include "agents/search/run.h"

namespace fib::agents {

class Loop {
 public:
  // `past` is what the archive has of the run, by number.
  Loop(const RunTools& tools, const RunOptions& options, const RunHooks& hooks, int64_t run,
       double past_s);
  void replay(std::vector<CandidateRecord> past);

  // Until nothing is left to do, a budget is used up or the user stops it.
  Result<void> run();
  // Measures afresh who seems best, until one stands.
  Result<void> confirm_best();
  RunSummary summary() const;

 private:
  enum class Step { kProposing, kBuilding, kOnDevice, kDone };
  // A candidate that isn't in the archive yet.
  struct Flight {
    CandidateRecord record;
    Decision decision;  // seeds have none
    Step step = Step::kProposing;
    std::shared_ptr<const Ancestor> parent;    // null for seeds
    std::shared_ptr<const Solution> solution;  // null until it is taken in
    std::shared_ptr<const BuiltCandidate> built;
    std::vector<Verdict> verdicts;
    std::vector<Exchange> exchanges;
    double deadline_s = 0.0;        // of the proposal
    double session_s = 0.0;         // of a device, for the last paired session
    bool was_paired_again = false;  // confirmed, or timed as a control

    bool is_seed() const { return parent == nullptr; }
  };

  // From nothing to a solution.
  Result<void> launch();
  void launch_seed(int64_t number);
  Result<void> launch_proposal(const Decision& decision);
  Result<ProposalRequest> request_for(const Decision& decision);
  Result<std::shared_ptr<const Ancestor>> ancestor(int64_t number);
  bool suits(const std::string& proposer, int64_t parent);
  Result<void> on_proposed(int64_t number, Result<ProposalOutcome> outcome);
  void give_up(Flight& flight, Refusal refusal);
  void give_up_what_hangs();
  std::optional<int64_t> earlier_with_key(const Flight& flight) const;
  std::optional<int64_t> earlier_with_code(const Flight& flight) const;

  // From a solution to its fate.
  void start_build(Flight& flight);
  Result<void> on_built(int64_t number, Result<BuiltCandidate> built);
  void start_screening(Flight& flight);
  Result<void> on_screened(int64_t number, Result<Screening> screening);
  // Whom it races against, and how it stands by the screening; nothing: it goes to the judge at
  // once.
  Result<std::optional<RaceRequest>> race_for(const Flight& flight, const Screening& screening);
  Result<Rival> rival_of(const CandidateRecord& best) const;
  void start_race(Flight& flight, RaceRequest request);
  Result<void> on_raced(int64_t number, Result<Race> race);
  enum class Session { kJudge, kControl, kConfirmation };
  void start_session(Flight& flight, Session session);
  Result<void> on_judged(int64_t number, Session session, Result<Judgement> judgement);
  Failure no_yardstick(const CandidateRecord& baseline) const;
  void end_flight(Flight& flight, CandidateFate fate, Refusal refusal = {});
  void end_failed(Flight& flight, std::span<const Verdict> verdicts);

  // From its fate to the archive.
  Result<void> seal_in_order();
  // Says for good what became of it, now that all before it are sealed. False: something has to be
  // measured first.
  bool settle(Flight& flight);
  bool settle_duplicate(Flight& flight, int64_t twin);
  bool deserves_confirmation(const CandidateRecord& record) const;
  Result<void> seal(Flight& flight);
  void remember(CandidateRecord record);
  Json feedback_of(const Flight& flight) const;

  // The session as a whole.
  Result<void> work();
  Result<void> stop();
  void say_goodbye();
  std::optional<std::string> used_up() const;
  std::optional<int64_t> best() const;
  bool is_gain(const CandidateRecord& record) const;
  Amounts spent() const;
  double candidates_per_hour(size_t since, double seconds) const;
  double session_s() const { return ended_s_.value_or(clock_()) - started_s_; }
  double elapsed_s() const { return past_s_ + session_s(); }
  RunProgress progress() const;
  bool is_cancelled() const { return hooks_.cancelled && hooks_.cancelled(); }

  const RunTools& tools_;
  const RunOptions& options_;
  const RunHooks& hooks_;
  const std::function<double()> clock_;
  const int64_t run_;
  const double past_s_, started_s_;
  std::optional<double> ended_s_;    // confirmations come afterwards
  std::optional<double> startup_s_;  // until the first proposal was asked for

  Search search_;
  std::map<std::string, std::shared_ptr<Proposer>> proposers_;
  std::map<std::pair<std::string, int64_t>, bool> suits_;
  std::map<int64_t, std::shared_ptr<const Ancestor>> ancestors_;  // a few, to hand
  std::optional<Error> broken_;           // while it was asked who suits whom
  std::vector<CandidateRecord> records_;  // sealed, without their feedback
  std::shared_ptr<const std::vector<CandidateRecord>> history_;
  std::vector<int64_t> seed_of_;            // by number: the seed it descends from
  std::map<std::string, int64_t> by_key_;   // solutions of the run
  std::map<std::string, int64_t> by_code_;  // the first with this machine code
  Tally tally_;
  Amounts unsealed_;  // tokens and money of candidates in flight, and of answers that came too late
  int64_t confirmations_ = 0, last_confirmation_ = 0;
  std::optional<std::pair<int64_t, Rival>> rival_;  // of the last race, by number
  double device_busy_s_ = 0.0;
  size_t records_before_ = 0;  // of earlier sessions

  int64_t next_ = 0;  // number
  std::map<int64_t, Flight> flights_;
  std::optional<std::string> end_reason_;  // nothing is launched any more
  RunState end_state_ = RunState::kFinished;

  // Threads last: they end before what they report about.
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::map<int64_t, Asking> askings_;
  Lanes builders_, devices_;
};

}  // namespace fib::agents
