#pragma once

// What the store remembers of searches: runs, their candidates with lineage, cost and what became of
// them, and what was said to models. docs/store.md describes the tables. Sources and verdicts lie
// where everybody's lie (leaderboard/store.h); a candidate names them by key and id.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

enum class RunState { kRunning, kFinished, kStopped };  // stopped: by its user, or killed; can go on
std::string_view run_state_name(RunState state);        // "running", "finished", "stopped"

struct RunRecord {
  int64_t id = 0;  // set by the archive
  std::string signature, target;
  std::string hardware;  // DeviceInfo::key
  Json options;          // of the search, all that a resumed run has to have again
  RunState state = RunState::kRunning;
  std::string end_reason;          // "budget: 200 candidates", "nothing left to try", "interrupted"
  std::string started, updated;    // local ISO 8601; set by the archive
  double active_s = 0.0;           // in which a process had it, pauses left out
};

// How far a candidate came.
enum class CandidateStage { kProposed, kBuilt, kScreened, kRaced, kJudged, kConfirmed };
std::string_view candidate_stage_name(CandidateStage stage);  // "proposed", "built", ...

enum class CandidateFate {
  kRefused,     // the proposer gave none, or one that can't be taken: `refusal` says why
  kDuplicate,   // its code is that of `duplicate_of`
  kFailed,      // doesn't compile, wrong, crashes, too slow to end: a verdict's status and reason
  kSlow,        // clearly slower than the best on the small workload, or beaten by it in the race
  kMeasured,    // right on all workloads, with a speedup
};
std::string_view candidate_fate_name(CandidateFate fate);  // "refused", "duplicate", ...

struct Refusal {
  std::string reason;   // a word to count by: "unchanged", "malformed", "path", "timeout", "budget",
                        // "exhausted", "rate-limit", "crash", "tried-before"
  std::string message;  // a sentence
  bool operator==(const Refusal&) const = default;
};

struct ProposalCost {
  double seconds = 0.0;  // of waiting
  int64_t prompt_tokens = 0, answer_tokens = 0;
  double money = 0.0;  // in the currency of the price list
  bool operator==(const ProposalCost&) const = default;
};

// One thing said to a model or a program, or by it.
struct Exchange {
  std::string role;     // "system", "user", "assistant", "stdin", "stdout", "stderr", "error"
  std::string content;  // as it was sent or received
  bool operator==(const Exchange&) const = default;
};

// What a search places candidates by, besides their time. 0 or empty: not known.
struct Behaviour {
  double relative_error = 0.0;  // RMS error over the reference's RMS, worst output and workload
  int64_t registers = 0;        // a thread, of the kernel with the largest share
  int64_t shared_bytes = 0;     // a block
  int64_t spilled_bytes = 0;    // a thread
  int64_t code_bytes = 0;
  double roofline_fraction = 0.0;
  std::string bound;  // "memory", "compute"
  bool operator==(const Behaviour&) const = default;
};

struct CandidateRecord {
  int64_t run = 0;
  int64_t number = 0;  // 0, 1, ... in the order in which they were decided on; seeds first
  int island = 0;
  std::string proposer;          // "seed", "tune", ...
  std::vector<int64_t> parents;  // numbers; the first was changed, the others lent blocks
  uint64_t seed = 0;
  std::string solution_key;  // empty where there is no solution
  std::string solution_name;
  std::string note;
  CandidateStage stage = CandidateStage::kProposed;
  CandidateFate fate = CandidateFate::kRefused;
  Refusal refusal;                      // why not, for all fates but kMeasured
  std::string code_key;                 // of its normalised machine code; empty: never built
  std::optional<int64_t> duplicate_of;  // number of an earlier one with the same code
  // The baseline's time over this one's, from paired sessions over all workloads, with its 95 %.
  // Of one that was beaten: as far as the race went, with an interval that holds what it didn't see.
  double speedup = 0.0, speedup_low = 0.0, speedup_high = 0.0;
  double screen_speedup = 0.0;  // over the baseline, on the small workload; 0: not screened
  bool is_confirmed = false;    // measured afresh as a winner; then the speedup is of that session
  double judged_speedup = 0.0;  // of a confirmed one: what it was at first, so that shrinkage shows
  Behaviour behaviour;
  std::vector<int64_t> verdicts;  // ids in the store
  Json feedback;                  // what proposers are told of it (agents/feedback)
  ProposalCost cost;
  double build_s = 0.0, device_s = 0.0;
  std::string timestamp;  // local ISO 8601, when its fate was sealed

  // In the race: right wherever it was looked at, and slower than the best.
  bool was_beaten() const {
    return fate == CandidateFate::kSlow && stage == CandidateStage::kRaced;
  }
  bool operator==(const CandidateRecord&) const = default;
};

// What a list shows of a run, without reading its candidates.
struct RunTotals {
  int64_t candidates = 0;
  int64_t measured = 0;
  double money = 0.0, device_s = 0.0;
  std::optional<int64_t> best;  // number; by the lower end of the interval, the earliest of equals
  double speedup = 0.0, speedup_low = 0.0, speedup_high = 0.0;  // of the best
};

// Several processes may write; one archive may be shared by threads. A run belongs to the archive
// that began or resumed it, until it ends, the archive is closed or its process dies: only then can
// another one resume it, and nobody else adds to it (leaderboard/run_lease.h).
class RunArchive {
 public:
  // The store's file (leaderboard/store.h), created or migrated as there.
  static Result<std::unique_ptr<RunArchive>> open(const std::filesystem::path& store_file);
  ~RunArchive();

  Result<int64_t> begin(const RunRecord& run);  // running, whatever the record says
  Result<void> end(int64_t run, RunState state, std::string_view reason);
  Result<void> resume(int64_t run);  // kConflict: a living process has it
  Result<void> change_options(int64_t run, const Json& options);  // kConflict: not this archive's
  // A run that is said to be running, but that no living process has, was killed: it is stopped.
  Result<RunRecord> run(int64_t id) const;
  Result<std::vector<RunRecord>> runs() const;  // newest first
  Result<RunTotals> totals(int64_t run) const;

  // Commits. A number of a run is written once; the exchanges of a candidate come with it. Errors:
  // kConflict, the number is taken or the run isn't this archive's; kInvalidInput, a parent or a
  // twin that doesn't come before it.
  Result<void> add(const CandidateRecord& candidate, const std::vector<Exchange>& exchanges = {});
  // A winner's second measurement replaces its numbers.
  Result<void> confirm(const CandidateRecord& candidate);
  Result<std::vector<CandidateRecord>> candidates(int64_t run) const;  // by number
  Result<CandidateRecord> candidate(int64_t run, int64_t number) const;
  Result<std::vector<Exchange>> exchanges(int64_t run, int64_t number) const;

 private:
  RunArchive();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fib
