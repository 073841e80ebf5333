#pragma once

// The loop of `fib agent run`: proposals in flight, a compile farm beside the devices, stages with
// early kill, records committed in the order of their numbers. docs/agents.md, "The search", tells
// it in words; what is decided is in search.h, what is measured in bench.h.
//
// A run can be killed at any moment. Whatever is in the archive stays, and a resume goes on with
// the number behind it: what was in flight is asked for again with the same parent and seed.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agents/proposers/proposer.h"
#include "agents/search/bench.h"
#include "agents/search/search.h"
#include "agents/search/tally.h"
#include "leaderboard/store.h"

namespace fib::agents {

// How candidates go through the stages; kept with the run.
struct Staging {
  // Slower than the best on the small workload by more than this, with the upper end of the
  // interval: not looked at on the others. It is wide, since what is slower there may well be the
  // fastest on workloads of other sizes, and a race costs little.
  double slow_margin = 0.25;
  // Whether those that remain race against the best before they are judged (agents/search/race.h),
  // and what they are taken to be capable of where they weren't looked at.
  bool has_race = true;
  double race_margin = 0.05;
  double control_share = 0.05;  // of the duplicates, timed as A/A controls
  // A new best by more than noise is confirmed at once, if so many candidates have gone by since
  // the last time; and not more often than that in all.
  int64_t confirm_interval = 100;
  int64_t most_confirmations = 8;

  Json to_json() const;
  static Result<Staging> from_json(const Json& json, std::string_view where);
};

// What a run is: the same for all its sessions.
struct RunPlan {
  SearchOptions search;
  Staging staging;
  std::vector<Solution> seeds;  // at least one; the bench's baseline first
  Json setup;                   // the caller's own, to make the same bench and proposers again
};
// Of a run in the archive.
Result<RunPlan> stored_plan(const RunArchive& archive, const Store& store, int64_t run);

struct RunOptions {
  SignaturePtr signature;
  std::string target, architecture;
  std::string hardware;      // in words, for whoever proposes
  std::string hardware_key;  // DeviceInfo::key
  RunPlan plan;
  std::optional<int64_t> resume;  // the run that `plan` is of
  // Zero: no bound. Hard: no proposal is asked for once one is used up, over all sessions of the
  // run. When the time is up, proposals in flight are cancelled.
  Amounts budget;
  double proposal_timeout_s = 1800.0;  // a proposer that takes longer hangs
  double farewell_s = 3.0;             // that hanging ones are waited for at the end
  int final_confirmations = 8;         // of who seems best at the end, until one stands
};

struct RunProgress {
  int64_t run = 0;
  std::optional<CandidateRecord> best;
  const Tally& tally;
  Amounts spent;
  int proposing = 0, building = 0, on_device = 0;             // in flight
  double candidates_per_hour = 0.0, device_idle_share = 0.0;  // of this session
  std::optional<int64_t> confirming;                          // at the end: who is measured afresh
};

// All are called by the thread that called run_search, but for the clock. Each may be empty.
struct RunHooks {
  std::function<void(const CandidateRecord&)> on_candidate;  // committed
  std::function<void(const RunProgress&)> on_begin;          // before anything is asked for
  std::function<void(const RunProgress&)> on_progress;       // several times a second
  std::function<bool()> cancelled;  // what is measured is finished, the rest left for a resume
  std::function<double()> clock;    // seconds from anywhere; any thread
};

struct RunSummary {
  int64_t run = 0;
  RunState state = RunState::kFinished;
  std::string end_reason;
  Tally tally;
  Amounts spent;
  std::optional<CandidateRecord> best;  // confirmed, where anything stood a confirmation
  bool is_gain =
      false;  // faster than every seed by more than the interval, the baseline being at 1
  std::vector<std::string> set_aside;  // proposers that were refused too often in a row
  // Of this session: all in all; its start, until the seeds were judged and the first proposal
  // could be asked for; and from then on.
  double candidates_per_hour = 0.0, startup_s = 0.0, steady_candidates_per_hour = 0.0;
  double device_idle_share = 0.0;

  Json to_json() const;
};

struct RunTools {
  Bench& bench;
  std::vector<std::shared_ptr<Proposer>> proposers;  // one that hangs may outlive the run
  RunArchive& archive;
  Store& store;  // of the same file
};

// Errors: options that make no sense, an archive, store or bench that fails, a proposer that can't
// go on at all. The run can be resumed after each of them.
Result<RunSummary> run_search(const RunTools& tools, const RunOptions& options,
                              const RunHooks& hooks = {});

}  // namespace fib::agents
