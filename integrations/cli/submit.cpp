// fib submit: one solution, compiled, checked, timed and stored.

#include "integrations/cli/commands.h"
#include "integrations/cli/submission.h"
#include "signatures/solution_folder.h"

namespace fib {

void add_submit_command(CLI::App& app, Action& action) {
  struct SubmitArgs {
    std::filesystem::path path;
    SubmissionArgs submission;
  };
  auto args = std::make_shared<SubmitArgs>();
  CLI::App* command =
      app.add_subcommand("submit", "Compile, check and time a solution; store the verdicts");
  command->add_option("path", args->path, "Solution folder, or a Solution JSON file")->required();
  command
      ->add_option("--against", args->submission.against,
                   "Time it side by side with this one too: a folder, a name or key in the store, "
                   "'house' or 'best'")
      ->type_name("WHO");
  command->add_option("--target", args->submission.target,
                      "cpu or cuda; must be the solution's own");
  add_submission_options(*command, args->submission);
  command->footer(
      "Examples:\n"
      "  fib submit my-kernel\n"
      "  fib submit my-kernel --quick --limit 3\n"
      "  fib submit my-kernel --against best         is it faster than the leader?\n"
      "  fib submit my-kernel --all-instances\n"
      "  fib submit my-kernel --signature rmsnorm_h4096 --workloads traffic.jsonl --json\n");
  command->callback([args, &action] {
    action = [args](const Context& context) -> Result<int> {
      FIB_CHECK(evaluation_options(args->submission.measure));  // before anything is read
      return run_submission(context, FIB_TRY(read_solution(args->path)), args->submission);
    };
  });
}

}  // namespace fib
