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

// Measures, stores and prints. Returns the exit code.
Result<int> run_submission(const Context& context, const Solution& solution,
                           const SubmissionArgs& args);

}  // namespace fib
