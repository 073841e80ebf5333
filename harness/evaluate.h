#pragma once

// Compile → check → time → verdict, for one solution over many problems, or a matrix of both.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/expected.h"
#include "harness/judge.h"
#include "harness/runner.h"

namespace fib {

struct EvaluationProgress {
  std::string stage;  // "build", "reference", "measure", "pair", "confirm"
  std::string label;  // "rmsnorm-vec8 rmsnorm_h4096 batch_size=7"
  int64_t done = 0, total = 0;
};

struct EvaluationOptions {
  MeasureConfig measure;           // measure.seed is the secret that all value seeds derive from
  int threads = 1;                 // for references and compiles
  double build_timeout_s = 120.0;
  // Hash of what can change a verdict on this signature: how it is measured, and what of the
  // signature it is judged by (tolerances, parameters, cost, dtypes), so that a changed signature is
  // judged anew. The seed is left out, and so is the number of threads.
  std::string config_key(const Signature& signature) const;
};

struct EvaluationJob {
  Solution solution;
  std::vector<Problem> problems;
  // Where there is one, a solution that passes is timed once more, side by side with it; a solution
  // that then is faster is timed beside it again, in a fresh session on fresh values. What is
  // judged, and under which key, is the same with and without.
  std::optional<Solution> incumbent = std::nullopt;
};

struct EvaluationHooks {
  // Called as soon as a verdict is made, before the next measurement of that device starts, from
  // one thread at a time. An Error stops the run (the store is gone).
  std::function<Result<void>(Verdict verdict, const Solution&, const Problem&)> on_verdict;
  std::function<void(const EvaluationProgress&)> on_progress;                   // may be empty
  std::function<bool(const Solution&, const Problem&)> already_done;            // may be empty
  std::function<bool()> cancelled;                                              // may be empty
};

struct EvaluationSummary {
  int64_t verdicts = 0, passed = 0, skipped = 0;
  std::vector<Error> errors;  // problems that couldn't be posed (bad blob) or measured, with place
};

// Builds run ahead on a compile farm, references run ahead of the device, and each of `devices`
// (of one kind, as Runner::devices() gives them) measures one problem at a time in a session of its
// own, opened while the first builds run; where candidates are timed on the host
// (`measures_on_host`) nothing else runs while they are.
Result<EvaluationSummary> evaluate(Runner& runner, const std::vector<DeviceInfo>& devices,
                                   const std::vector<EvaluationJob>& jobs, ExpectedCache& expected,
                                   const EvaluationOptions& options, const EvaluationHooks& hooks);

}  // namespace fib
