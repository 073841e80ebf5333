#pragma once

// The options of the `llm` proposer: which model, where, with which key, at which price.

#include <cstdint>
#include <string>

#include "agents/proposers/llm.h"
#include "integrations/cli/context.h"

namespace CLI {
class App;
}

namespace fib {

struct LlmCliArgs {
  std::string url = "https://api.openai.com/v1";
  std::string model;
  std::string key_env = "OPENAI_API_KEY";
  double price_in = 0.0, price_out = 0.0;  // of a million tokens
  int samples = 4;
  double timeout_s = 600.0;
  int64_t max_tokens = 0;  // of an answer; 0: the endpoint's own limit
  std::string body;        // JSON
  std::string prompts;     // a folder; empty: those that come with fib
};
void add_llm_options(CLI::App& app, LlmCliArgs& args);

// Takes the key from the environment. Errors: no model, a body that is no JSON object.
Result<agents::LlmOptions> llm_options(const Context& context, const LlmCliArgs& args);

}  // namespace fib
