#pragma once

// What `fib submit` and `fib run` share: the options of a measurement, and the walk from jobs to
// stored verdicts.

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/evaluate.h"
#include "integrations/cli/context.h"
#include "leaderboard/store.h"

namespace fib {

struct MeasureArgs {
  std::string modes = "cold,warm,graph";
  std::string samples;  // "MIN:MAX"
  bool is_quick = false;
  std::optional<uint64_t> seed;
  int threads = 0;  // 0: all processors
  std::string devices = "0";
  bool is_forced = false;
};
void add_measure_options(CLI::App& app, MeasureArgs& args);
Result<EvaluationOptions> evaluation_options(const MeasureArgs& args);

// Binds workloads to a signature. Those that can't be bound are told on `err` and counted: one bad
// workload doesn't keep the others from being measured.
struct BoundProblems {
  std::vector<Problem> problems;
  std::vector<Error> errors;
};
BoundProblems bind_workloads(const SignaturePtr& signature, const std::vector<Workload>& workloads);

// The workloads of a signature in the user's file or dataset if one was named, else the built-in
// ones; at most `limit` (0: all). Error: there are none.
struct WorkloadChoice {
  std::filesystem::path path;
  std::string id;  // only the one whose id begins so; empty: all
  int64_t limit = 0;
};
Result<std::vector<Workload>> choose_workloads(const Context& context, const Signature& signature,
                                               const WorkloadChoice& choice);

enum class StoredVerdicts { kPrint, kCount };

// The pairs of one signature, and what they come to.
struct PairGroup {
  std::vector<PairedRecord> records;
  PairedSummary summary;
};
std::vector<PairGroup> group_by_signature(const std::vector<PairedRecord>& pairs);

struct EvaluationTotals {
  int64_t measured = 0, stored_before = 0, passed = 0;
  int64_t first_id = 0, last_id = 0;  // of the new verdicts
  std::vector<int64_t> ids;           // of all verdicts, new and stored before
  std::vector<PairedRecord> pairs;    // of a plan with incumbents
  std::vector<Error> errors;
  bool is_interrupted = false;

  int64_t verdicts() const { return measured + stored_before; }
  int exit_code() const;
  Json to_json() const;
};

// Whoever looks on from elsewhere than the terminal; both may be empty.
struct EvaluationWatch {
  std::function<void(const EvaluationProgress&)> on_progress;  // any thread, one at a time
  std::function<bool()> cancelled;                             // asked between measurements
};

struct EvaluationPlan {
  Runner& runner;
  std::vector<DeviceInfo> devices;  // of one kind
  std::vector<EvaluationJob> jobs;
  EvaluationOptions options;
  bool is_forced = false;  // measure again what the store has already
  StoredVerdicts stored = StoredVerdicts::kPrint;
  EvaluationWatch watch;
};

// Prints and stores each verdict as it is made; what the store has already is not measured again
// unless forced. Ctrl-C ends it after the current measurement.
Result<EvaluationTotals> evaluate_and_store(const Context& context, Store& store,
                                            EvaluationPlan plan);

}  // namespace fib
