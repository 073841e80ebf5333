// fib mcp: fib as a tool of coding agents.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <ostream>
#include <thread>

#include "agents/mcp/server.h"
#include "agents/mcp/stdio.h"
#include "agents/mcp/tools.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/mcp_http.h"
#include "integrations/cli/mcp_workbench.h"
#include "integrations/serving/http/http_server.h"

namespace fib {

namespace {

constexpr auto kShutdownPatience = std::chrono::milliseconds(50);
// Shorter than the usual patience of proxies and clients with a silent connection.
constexpr auto kKeepAliveInterval = std::chrono::seconds(15);
constexpr const char* kDefaultAddress = "127.0.0.1:8931";

struct McpArgs {
  std::filesystem::path root;
  bool is_http = false;
  std::string address = kDefaultAddress;
};

Result<void> serve_http(const Context& context, mcp::Server& server, const LoopbackAddress& address,
                        const InterruptGuard& interrupt) {
  McpHttp transport(server);
  const auto http = FIB_TRY(HttpServer::start({.host = address.host,
                                               .port = address.port,
                                               .limits = {.connections = 128,
                                                          .body_bytes = mcp::kLongestMessageBytes,
                                                          .buffered_bytes = size_t{4} << 20}},
                                              transport));
  const bool is_v6 = http->host().find(':') != std::string::npos;
  const std::string url = fmt::format(
      "http://{}:{}/mcp", is_v6 ? fmt::format("[{}]", http->host()) : http->host(), http->port());
  if (context.json()) {
    print_json_line(context, {{"url", url}});
  } else {
    context.out << fmt::format("listening on {}\n", url) << std::flush;
  }
  auto next_sign = std::chrono::steady_clock::now() + kKeepAliveInterval;
  while (!interrupt.requested()) {
    std::this_thread::sleep_for(kShutdownPatience);
    if (std::chrono::steady_clock::now() < next_sign) continue;
    transport.keep_alive();
    next_sign += kKeepAliveInterval;
  }
  server.abandon();
  http->drain();
  return {};
}

Result<int> serve_mcp(const Context& context, const McpArgs& args) {
  const LoopbackAddress address = FIB_TRY(parse_loopback_address(args.address));
  // On stdio the client reads nothing but messages on `out`: what commands print is a log.
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
      mcp::make_tools(*workbench, {.root = args.root, .scratch = logged.cache_folder / "mcp"}));
  if (args.is_http) {
    FIB_CHECK(serve_http(context, server, address, interrupt));
    return kExitPassed;
  }
  mcp::serve_lines(server, STDIN_FILENO, mcp::line_writer(context.out),
                   [&] { return interrupt.requested() || !context.out; });
  return interrupt.requested() ? kExitInterrupted : kExitPassed;
}

}  // namespace

void add_mcp_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<McpArgs>();
  CLI::App* command =
      app.add_subcommand("mcp", "Serve fib's tools to coding agents (Model Context Protocol)");
  command
      ->add_option("--root", args->root,
                   "Agents may name solution folders below it and have skeletons written there; "
                   "without it they send files")
      ->check(CLI::ExistingDirectory)
      ->type_name("DIR");
  CLI::Option* http =
      command
          ->add_option("--http", args->address,
                       fmt::format("Listen for clients of this machine instead of speaking on "
                                   "stdin and stdout; default: {}; port 0: any that is free",
                                   kDefaultAddress))
          ->expected(0, 1)
          ->type_name("[HOST:]PORT");
  command->footer(
      "A coding agent starts it and speaks on stdin and stdout (docs/agents.md):\n"
      "  {\"mcpServers\": {\"fib\": {\"command\": \"fib\", \"args\": [\"mcp\", \"--root\", "
      "\".\"]}}}\n"
      "Or it runs by itself, for several at a time, at http://127.0.0.1:8931/mcp:\n"
      "  fib mcp --root . --store kernels.db --http\n");
  command->callback([args, http, &action] {
    args->is_http = http->count() > 0;
    if (args->address.empty()) args->address = kDefaultAddress;
    action = [args](const Context& context) { return serve_mcp(context, *args); };
  });
}

}  // namespace fib
