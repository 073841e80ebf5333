#pragma once

// The real bench: candidates are built by a runner, screened beside the baseline on one workload,
// raced on others (agents/search/race.h), judged on all of them, and what the judge says goes into
// the store, as `fib submit --against` has it. docs/agents.md, "How candidates are tried", tells
// the same in words.
//
// What a candidate does wrong (it doesn't compile, crashes, hangs, cheats) is in the answer, and
// the next one meets a fresh worker. A session that broke for no fault of its own is opened again;
// an Error is left for what no candidate can be blamed for: no disk, no device, no store.

#include <memory>
#include <string>
#include <vector>

#include "agents/search/bench.h"
#include "harness/evaluate.h"
#include "leaderboard/store.h"

namespace fib::agents {

// How closely a candidate is looked at, on each workload of screening and race, before it is worth
// a paired session over everything.
struct ScreeningOptions {
  std::string workload;  // id; empty: the bench chooses (agents/search/screening.h)
  int min_samples = 10;  // rounds; below six there is no interval
  int max_samples = 20;
  double target_relative_ci = 0.03;
  double max_seconds = 2.0;  // of timing; reached by slow calls only
  // A call that takes longer hangs; or one that takes a thousand times its least time, where that
  // is more, but never longer than the judge waits.
  double call_timeout_s = 5.0;
};

struct LiveBenchOptions {
  Runner& runner;
  std::vector<DeviceInfo> devices;  // of one kind, of Runner::devices(); each has its own session
  std::vector<Problem> problems;    // of one signature, each with its workload's weight
  Solution baseline;                // all speedups are over it; the search's first seed
  // As for `fib submit`; `measure.seed` is the run's secret, and `threads` are for references.
  EvaluationOptions evaluation;
  ExpectedCache& expected;
  Store& store;
  int builders = 1;  // builds at a time: the runner's own farm should hold as many
  ScreeningOptions screening = {};
};

// Builds the baseline and poses the screening problem. Error: no problems or devices, a baseline
// that doesn't compile, a screening workload that isn't there or can't be posed. The runner, the
// cache and the store must outlive the bench.
Result<std::unique_ptr<Bench>> make_live_bench(LiveBenchOptions options);

}  // namespace fib::agents
