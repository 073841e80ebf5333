#include "agents/mcp/tools.h"

#include <iterator>

namespace fib::mcp {

const char* const kInstructions =
    "fib judges kernels for LLM serving: a solution is compiled, checked against a reference on "
    "real workloads and timed. Walk: list_signatures, show_signature (the contract), get_skeleton, "
    "edit, check (does it compile), submit (is it right, how fast; quick or limit while trying), "
    "explain_verdict (why), profile (where its time goes: what to improve next), compare with "
    "'best' (is it faster than the "
    "leader), best_solutions (what the leaders do), board. Solutions are given as files, as a "
    "folder below the server's root, or by name. Only the judge's verdict counts.";

std::vector<Tool> make_tools(Workbench& workbench, const Folders& folders) {
  std::vector<Tool> tools = signature_tools(workbench, folders);
  for (std::vector<Tool> part : {candidate_tools(workbench, folders), record_tools(workbench)}) {
    std::move(part.begin(), part.end(), std::back_inserter(tools));
  }
  return tools;
}

}  // namespace fib::mcp
