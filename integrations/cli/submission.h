#pragma once

// One solution, judged: what `fib submit` and `fib compare` share.

#include <CLI/CLI.hpp>
#include <string>

#include "integrations/cli/evaluation.h"

namespace fib {

struct SubmissionArgs {
  std::string signature, target;
  std::string against;  // whom it is timed side by side with (contenders.h); empty: nobody
  bool takes_all_instances = false;
  WorkloadChoice workloads;
  MeasureArgs measure;

  // Whoever names a signature, or a file of workloads, has said what is meant.
  bool leaves_instances_open() const {
    return signature.empty() && workloads.path.empty() && !takes_all_instances;
  }
};
void add_submission_options(CLI::App& command, SubmissionArgs& args);

// What a solution is judged on where nobody says otherwise, and by whom.
struct SubmissionScope {
  std::vector<std::unique_ptr<Runner>> runners;
  Runner* runner = nullptr;  // of the solution's target; it may not be available here
  std::vector<SignaturePtr> signatures;
  std::string note;  // for people, where these aren't all that it is written for
};
Result<SubmissionScope> submission_scope(const Context& context, const Solution& solution,
                                         const SubmissionArgs& args);

// Measures and stores; verdicts are printed as they are made.
Result<EvaluationTotals> measure_submission(const Context& context, const Solution& solution,
                                            const SubmissionArgs& args, EvaluationWatch watch = {});

// Measures, stores and prints what it comes to. Returns the exit code.
Result<int> run_submission(const Context& context, const Solution& solution,
                           const SubmissionArgs& args);

}  // namespace fib
