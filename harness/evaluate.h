#pragma once

// Compile → check → time → verdict, for one solution over many problems, or a matrix of both.

#include <functional>
#include <memory>
#include <vector>

#include "harness/expected.h"
#include "harness/judge.h"
#include "harness/runner.h"

namespace fib {

struct EvaluationProgress {
  std::string stage;     // "build", "reference", "measure"
  std::string label;     // "rmsnorm-vec8 rmsnorm_h4096 batch_size=7"
  int64_t done = 0, total = 0;
};

struct EvaluationOptions {
  MeasureConfig measure;
  int threads = 1;                 // for references and compiles
  double build_timeout_s = 120.0;
  std::string config_key() const;  // hash of what can change a verdict (not the seed)
};

struct EvaluationJob {
  Solution solution;
  std::vector<Problem> problems;
};

struct EvaluationHooks {
  // Called as soon as a verdict is made, before the next measurement starts. An Error stops the
  // run (the store is gone).
  std::function<Result<void>(Verdict verdict, const Solution&, const Problem&)> on_verdict;
  std::function<void(const EvaluationProgress&)> on_progress;
  std::function<bool(const Solution&, const Problem&)> already_done;  // resume
  std::function<bool()> cancelled;
};

struct EvaluationSummary {
  int64_t verdicts = 0, passed = 0, skipped = 0;
  std::vector<Error> errors;  // problems that couldn't be posed (bad blob), with their place
};

// Builds run ahead on the compile farm; references run ahead on `threads`; each device of
// `sessions` measures one problem at a time.
Result<EvaluationSummary> evaluate(Runner& runner,
                                   std::vector<std::unique_ptr<Session>>& sessions,
                                   const std::vector<EvaluationJob>& jobs, ExpectedCache& expected,
                                   const EvaluationOptions& options, const EvaluationHooks& hooks);

}  // namespace fib
