#pragma once

// What a program is given and how its answer is read (docs/agents.md).

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "agents/proposers/proposer.h"

namespace fib::agents {

struct DocumentOptions {
  std::filesystem::path abi;
  size_t others = 0, tried = 0;
};
Json request_document(const ProposalRequest& request, const DocumentOptions& options);

// What came on stdout, read strictly. A refusal is the program's own, or ours: "malformed", "path",
// "unchanged". Costs are counted with both.
ProposalOutcome read_answer(std::string_view text, const Solution& parent);

}  // namespace fib::agents
