#pragma once

// What a model is told of a request: the values of a prompt's placeholders.

#include <filesystem>
#include <string>
#include <vector>

#include "agents/proposers/llm/prompt.h"
#include "agents/proposers/proposer.h"

namespace fib::agents {

struct BriefingLimits {
  size_t headers_bytes = 32'000;  // of included headers, besides the interface itself
  size_t others_bytes = 24'000;   // of the best other's sources
  size_t tried = 16;              // the parent's last children
  size_t feedback_bytes = 8'000;
};

// A file between fences that are longer than any in it: "```file kernel.cu".
std::string fenced(std::string_view header, std::string_view content);

// "1.24 times as fast as the baseline (1.20 to 1.28)", "failed: ...", in a line.
std::string outcome_in_words(const CandidateRecord& record);

// The values of propose.md. `abi` is empty or the folder that holds <fib/...>.
PromptValues briefing(const ProposalRequest& request, const std::filesystem::path& abi,
                      const std::vector<std::string>& directions, const BriefingLimits& limits);

}  // namespace fib::agents
