#pragma once

// Where candidates are tried: the seam between the search, which decides, and runners, judge and
// store, which find out. Stages with early kill: build, screen, race, judge.
// agents/search/live_bench.h is the real one; tests have one that knows its answers.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/verdict.h"
#include "leaderboard/run_archive.h"
#include "signatures/trace.h"

namespace fib::agents {

struct BuiltCandidate {
  bool compiles = false;
  std::string log;       // errors, or warnings; shortened, with source lines
  std::string code_key;  // hash of the normalised machine code: the same means the same program
  Behaviour behaviour;   // what the binary says: registers, spills, code bytes
  double build_s = 0.0;
  std::shared_ptr<const void> handle;  // of the bench that built it
};

// Right or wrong on one small workload, and how fast against the baseline.
struct Screening {
  Verdict verdict;       // not stored; status says whether it is right
  double speedup = 0.0;  // the baseline's time over its own; 0: not timed
  double speedup_low = 0.0, speedup_high = 0.0;
  double device_s = 0.0;
};

// Whom a candidate has to overtake: the best that was known when it was decided on.
struct Rival {
  double speedup_low = 1.0;                // over the baseline, which is beaten at 1
  std::map<std::string, double> speedups;  // by workload id; one that isn't there: speedup_low
};

struct RaceRequest {
  Rival rival;
  Screening screening;  // of this candidate: the race's first workload
  // On workloads that it hasn't come to, a candidate is taken to be at most so much better against
  // the rival than on the best of the others, and at most so much worse than on the worst.
  double margin = 0.05;
};

// How a candidate does beside the baseline on one workload after another, briefly, until it is
// clear that it can't overtake the rival, or all are looked at.
struct Race {
  std::vector<Verdict> verdicts;  // not stored; all passed, or the last one didn't
  bool is_beaten = false;
  int64_t workloads = 0;  // looked at, the screening's among them
  // The weighted geometric mean over all workloads, as far as it can be known; 0: not timed.
  double speedup = 0.0, speedup_low = 0.0, speedup_high = 0.0;
  Behaviour behaviour;
  double device_s = 0.0;
};

// The whole paired session over all workloads: the judge and the store are those of `fib submit`.
struct Judgement {
  std::vector<Verdict> verdicts;  // stored, without samples
  std::vector<int64_t> verdict_ids;
  bool passed = false;                                          // all of them
  double speedup = 0.0, speedup_low = 0.0, speedup_high = 0.0;  // weighted geometric mean
  Behaviour behaviour;
  double device_s = 0.0;
  // Right, and timed beside the baseline on every workload. A speedup over some of them would be
  // another number than everybody else's.
  bool is_ranked() const { return passed && speedup > 0.0; }
};

class Bench {
 public:
  virtual ~Bench() = default;
  virtual int devices() const = 0;
  virtual int builders() const = 0;  // builds that may run at a time, beside measuring
  // Thread-safe. Whatever a candidate does wrong is in the answer; an Error ends the run.
  virtual Result<BuiltCandidate> build(const Solution& solution) = 0;
  // `device` is 0 .. devices()-1; a device is asked for one thing at a time.
  virtual Result<Screening> screen(int device, const Solution& solution,
                                   const BuiltCandidate& built) = 0;
  virtual Result<Race> race(int device, const Solution& solution, const BuiltCandidate& built,
                            const RaceRequest& request) = 0;
  virtual Result<Judgement> judge(int device, const Solution& solution,
                                  const BuiltCandidate& built) = 0;
  // Measured afresh, in a fresh session, on fresh values: what a winner has to stand.
  virtual Result<Judgement> confirm(int device, const Solution& solution,
                                    const BuiltCandidate& built) = 0;
};

}  // namespace fib::agents
