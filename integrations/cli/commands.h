#pragma once

// Every command of the one binary, each in a file of its own (submit.cpp, board.cpp, ...). add_*
// declares the options and, when the command was chosen, puts what to do into `action`.

#include <functional>

#include "integrations/cli/context.h"

namespace CLI {
class App;
}

namespace fib {

using Action = std::function<Result<int>(const Context&)>;

void add_submit_command(CLI::App& app, Action& action);
void add_profile_command(CLI::App& app, Action& action);
void add_compare_command(CLI::App& app, Action& action);
void add_run_command(CLI::App& app, Action& action);
void add_board_command(CLI::App& app, Action& action);
void add_show_command(CLI::App& app, Action& action);
void add_signature_command(CLI::App& app, Action& action);
void add_workload_command(CLI::App& app, Action& action);
void add_solution_command(CLI::App& app, Action& action);
void add_import_command(CLI::App& app, Action& action);
void add_export_command(CLI::App& app, Action& action);
void add_cache_command(CLI::App& app, Action& action);
void add_doctor_command(CLI::App& app, Action& action);
void add_serve_command(CLI::App& app, Action& action);
void add_replay_command(CLI::App& app, Action& action);
void add_capture_command(CLI::App& app, Action& action);
void add_ab_command(CLI::App& app, Action& action);
void add_chat_command(CLI::App& app, Action& action);
void add_bench_command(CLI::App& app, Action& action);
void add_quantize_command(CLI::App& app, Action& action);
void add_kernels_command(CLI::App& app, Action& action);
void add_mcp_command(CLI::App& app, Action& action);
void add_agent_command(CLI::App& app, Action& action);

}  // namespace fib
