#pragma once

// The commands of `fib agent`, each in a file of its own.

#include "integrations/cli/commands.h"

namespace fib {

void add_agent_run_command(CLI::App& agent, Action& action);          // run
void add_agent_records_commands(CLI::App& agent, Action& action);     // list, show, tree
void add_agent_tune_replay_command(CLI::App& agent, Action& action);  // tune-replay

}  // namespace fib
