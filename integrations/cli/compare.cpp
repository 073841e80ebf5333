// fib compare: which of two solutions is faster.

#include "integrations/cli/commands.h"
#include "integrations/cli/contenders.h"
#include "integrations/cli/submission.h"

namespace fib {

void add_compare_command(CLI::App& app, Action& action) {
  struct CompareArgs {
    std::string candidate;
    SubmissionArgs submission;
  };
  auto args = std::make_shared<CompareArgs>();
  CLI::App* command =
      app.add_subcommand("compare", "Time two solutions side by side; store the verdicts");
  command
      ->add_option("candidate", args->candidate,
                   "A folder, a Solution JSON file, or a name or key in the store")
      ->required()
      ->type_name("WHO");
  command
      ->add_option("incumbent", args->submission.against,
                   "The same, or 'house', or 'best': the leader on this hardware")
      ->required()
      ->type_name("WHO");
  add_submission_options(*command, args->submission);
  command->footer(
      "The candidate is judged and stored as by 'fib submit --against'. Its speedup is FASTER or\n"
      "SLOWER where the 95 % interval clears what two copies of the incumbent differ by; FASTER "
      "is\n"
      "confirmed in a second, fresh session.\n"
      "Examples:\n"
      "  fib compare my-kernel best\n"
      "  fib compare my-kernel rmsnorm-rows --signature rmsnorm_h4096\n"
      "  fib compare rmsnorm-rows rmsnorm-plain --limit 3 --json\n");
  command->callback([args, &action] {
    action = [args](const Context& context) -> Result<int> {
      FIB_CHECK(evaluation_options(args->submission.measure));  // before anything is read
      return run_submission(context, FIB_TRY(find_solution(context, args->candidate)),
                            args->submission);
    };
  });
}

}  // namespace fib
