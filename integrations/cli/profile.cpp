// fib profile: what is told to whoever searches for a better kernel, for people.

#include <algorithm>
#include <ostream>

#include "agents/feedback/feedback.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/contenders.h"
#include "integrations/cli/solution_profile.h"

namespace fib {

namespace {

constexpr size_t kMostBytes = 64 << 10;
constexpr size_t kMostMissing = 8;  // counters that are said to be missing

struct ProfileArgs {
  std::string who;
  ProfileOptions options;
};

void print_counters_note(const Context& context, const SolutionProfile& profile) {
  const auto print = [&](const std::string& note) {
    context.out << context.out_style.dim("counters: " + note) << "\n";
  };
  if (!profile.counters_reason.empty()) print("not read: " + profile.counters_reason);
  const std::vector<std::string>& missing = profile.counters_missing;
  for (size_t i = 0; i < std::min(missing.size(), kMostMissing); ++i) print(missing[i]);
}

Result<int> run_profile(const Context& context, const ProfileArgs& args) {
  const Solution solution = FIB_TRY(find_solution(context, args.who));
  const SolutionProfile profile = FIB_TRY(profile_solution(context, solution, args.options));
  for (const Error& error : profile.totals.errors) report_error(context, error);
  if (context.json()) {
    print_json_line(
        context,
        Json{{"feedback", profile.feedback},
             {"counters",
              {{"reason", profile.counters_reason}, {"missing", profile.counters_missing}}}});
  } else {
    context.out << "\n" << agents::feedback_in_words(profile.feedback, kMostBytes);
    print_counters_note(context, profile);
  }
  if (profile.trouble) report_error(context, *profile.trouble);
  return profile.exit_code();
}

}  // namespace

void add_profile_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ProfileArgs>();
  CLI::App* command = app.add_subcommand(
      "profile", "Judge a solution and say in words where its errors, time and resources go");
  command->add_option("solution", args->who, "A folder, a file, or a name or key in the store")
      ->required();
  command
      ->add_option("--against", args->options.submission.against,
                   "Compare its time, resources and sources with this one's: a folder, a name or "
                   "key in the store, 'house' or 'best'")
      ->type_name("WHO");
  command->add_option("--target", args->options.submission.target,
                      "cpu or cuda; must be the solution's own");
  add_submission_options(*command, args->options.submission);
  command->add_flag_callback(
      "--no-counters", [args] { args->options.counters = ProfileOptions::Counters::kLeaveOut; },
      "Don't read the device's counters, which takes a second, slower run");
  command->add_option("--ncu", args->options.ncu, "Nsight Compute's program; else it is searched")
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  command->footer(
      "Examples:\n"
      "  fib profile my-kernel --quick\n"
      "  fib profile my-kernel --against house       what did the changes do?\n"
      "  fib profile my-kernel --signature rmsnorm_h4096 --workload 7c1e --json\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return run_profile(context, *args); };
  });
}

}  // namespace fib
