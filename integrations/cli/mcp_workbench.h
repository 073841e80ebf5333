#pragma once

// The commands' ways to find, build and judge solutions, as the tools of `fib mcp` need them.

#include <memory>

#include "agents/mcp/workbench.h"
#include "integrations/cli/context.h"

namespace fib {

// `context.out` and `err` get what the commands would print. Error: signatures that can't be read.
Result<std::unique_ptr<mcp::Workbench>> make_mcp_workbench(const Context& context);

}  // namespace fib
