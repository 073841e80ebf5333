#pragma once

// The tools of `fib mcp`, in one visible list.

#include <vector>

#include "agents/mcp/sources.h"
#include "agents/mcp/tool.h"
#include "agents/mcp/workbench.h"

namespace fib::mcp {

// What a model is told about them as a whole.
extern const char* const kInstructions;

// The tools keep the workbench, which must outlive them.
std::vector<Tool> make_tools(Workbench& workbench, const Folders& folders);

// Parts of the list, each in a file of its own.
std::vector<Tool> signature_tools(Workbench& workbench, const Folders& folders);
std::vector<Tool> candidate_tools(Workbench& workbench, const Folders& folders);
std::vector<Tool> record_tools(Workbench& workbench);

}  // namespace fib::mcp
