#pragma once

// The proposer that asks a language model: any endpoint with OpenAI's /chat/completions. The model
// is shown the contract, the parent with what was measured of it, what was tried, and the best of
// the others; it answers with whole files or search/replace edits (llm/answer.h), and once more
// where the first answer can't be read. docs/agents.md describes it for its users.

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agents/proposers/llm/pricing.h"
#include "agents/proposers/proposer.h"
#include "signatures/base/json.h"

namespace fib::agents {

struct LlmOptions {
  std::string url;  // the base: "https://api.openai.com/v1"
  std::string model;
  std::string key;                // empty: none is sent
  std::string key_name;           // how errors call it: "OPENAI_API_KEY"
  std::filesystem::path prompts;  // folder of a version: agents/prompts/v1
  std::filesystem::path abi;      // harness/abi; what parents include of it is shown; empty: not
  int samples = 4;                // requests in flight at most
  int attempts = 5;               // to get one answer
  double timeout_s = 600.0;       // of one request
  double first_wait_s = 1.0;      // before the second attempt; doubles from one to the next
  double longest_wait_s = 120.0;  // an endpoint that wants us to wait longer isn't waited for
  std::optional<int64_t> max_answer_tokens;  // the endpoint's own limit, if not
  Json body;  // further fields of the requests; null takes one of ours away
  TokenPrices prices;
  size_t others_bytes = 24'000;  // of the best other's sources in a prompt, at most
  // Waits, or returns early when cancelled. Empty: sleeps.
  std::function<void(double seconds, const std::function<bool()>& cancelled)> wait;
};

// Errors: a URL, key or prompt file that can't be used; no libcurl (kEnvironment).
Result<std::unique_ptr<Proposer>> make_llm_proposer(LlmOptions options);

}  // namespace fib::agents
