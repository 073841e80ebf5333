// fib agent: the search for better kernels. Its commands are in files of their own.

#include <CLI/CLI.hpp>

#include "integrations/cli/agent_commands.h"

namespace fib {

void add_agent_command(CLI::App& app, Action& action) {
  CLI::App* agent = app.add_subcommand("agent", "Search for better kernels, and look at searches");
  agent->require_subcommand(1);
  add_agent_run_command(*agent, action);
  add_agent_records_commands(*agent, action);
  add_agent_tune_replay_command(*agent, action);
}

}  // namespace fib
