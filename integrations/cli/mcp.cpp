// fib mcp: fib as a tool of coding agents.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <ostream>

#include "agents/mcp/server.h"
#include "agents/mcp/stdio.h"
#include "agents/mcp/tools.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/mcp_workbench.h"

namespace fib {

namespace {

Result<int> serve_mcp(const Context& context, const std::filesystem::path& root) {
  // The client reads nothing but messages on `out`: what commands print is a log.
  const Context logged{.out = context.err,
                       .err = context.err,
                       .out_style = context.err_style,
                       .err_style = context.err_style,
                       .home = context.home,
                       .executable = context.executable,
                       .store_file = std::filesystem::absolute(context.store_file),
                       .cache_folder = std::filesystem::absolute(context.cache_folder),
                       .datasets = context.datasets,
                       .cuda_search = context.cuda_search};
  const auto workbench = FIB_TRY(make_mcp_workbench(logged));
  // A client that closes our output is noticed by the end of its own.
  std::signal(SIGPIPE, SIG_IGN);
  const InterruptGuard interrupt;
  mcp::Server server(
      {.name = "fib",
       .title = "fib: kernels compete",
       .version = FIB_VERSION,
       .instructions = mcp::kInstructions},
      mcp::make_tools(*workbench, {.root = root, .scratch = logged.cache_folder / "mcp"}),
      mcp::line_writer(context.out));
  mcp::serve_lines(server, STDIN_FILENO, [&] { return interrupt.requested() || !context.out; });
  return interrupt.requested() ? kExitInterrupted : kExitPassed;
}

}  // namespace

void add_mcp_command(CLI::App& app, Action& action) {
  auto root = std::make_shared<std::filesystem::path>();
  CLI::App* command =
      app.add_subcommand("mcp", "Serve fib's tools to coding agents (Model Context Protocol)");
  command
      ->add_option("--root", *root,
                   "Agents may name solution folders below it and have skeletons written there; "
                   "without it they send files")
      ->check(CLI::ExistingDirectory)
      ->type_name("DIR");
  command->footer(
      "Speaks on stdin and stdout, ends with stdin; a coding agent starts it (docs/agents.md):\n"
      "  {\"mcpServers\": {\"fib\": {\"command\": \"fib\", \"args\": [\"mcp\", \"--root\", "
      "\".\"]}}}\n"
      "Example:\n"
      "  fib mcp --root . --store kernels.db\n");
  command->callback([root, &action] {
    action = [root](const Context& context) { return serve_mcp(context, *root); };
  });
}

}  // namespace fib
