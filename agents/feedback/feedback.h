#pragma once

// What whoever writes kernels is told of one: proposers, coding agents, and people by `fib profile`.
// Specific, short, and nothing of seeds, expected values, the judge's thresholds or other runs.

#include <optional>
#include <string>
#include <vector>

#include "harness/verdict.h"
#include "leaderboard/run_archive.h"
#include "signatures/trace.h"

namespace fib::agents {

// Device counters of one kernel; each only where it could be read.
struct KernelCounters {
  std::string kernel;
  std::optional<double> device_bytes;      // read and written, a launch
  std::optional<double> occupancy;         // achieved, 0..1
  std::optional<double> theoretical_occupancy;
  std::optional<double> bank_conflicts;    // a launch
  std::vector<std::pair<std::string, double>> stalls;  // reason -> share of the warps' cycles, largest first
};

struct FeedbackSource {
  const Solution& solution;
  std::string build_log;                 // empty: nothing to say
  bool compiles = true;
  std::vector<Verdict> verdicts;         // may be empty
  Behaviour behaviour;
  std::vector<KernelCounters> counters;  // may be empty
  double speedup = 0.0, speedup_low = 0.0, speedup_high = 0.0;  // over the baseline; 0: not known
  // The parent's, to tell what the change did.
  const Solution* parent = nullptr;
  std::optional<CandidateRecord> parent_record;
  Behaviour parent_behaviour;  // where there is no record of it
};

// Of those that passed and were timed, the one where, as traffic weighs it, most time is left above
// the roofline's floor: whose kernels and counters are shown. Null: none was timed.
const Verdict* most_to_gain(const std::vector<Verdict>& verdicts);

// Of one verdict that is stored: what it says by itself, without counters and the parent.
FeedbackSource source_of_verdict(const Solution& solution, const Verdict& verdict);

// The document that is stored with a candidate and given to proposers (docs/agents.md describes it).
Json make_feedback(const FeedbackSource& source);
// The same as Markdown, at most `max_bytes` long: what a model or a person reads.
std::string feedback_in_words(const Json& feedback, size_t max_bytes = 8000);

}  // namespace fib::agents
