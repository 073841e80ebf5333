#include "integrations/cli/llm_options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "integrations/cli/agent_numbers.h"

namespace fib {

namespace {

constexpr const char* kNewestPrompts = "v1";
constexpr const char* kGroup = "Proposer llm";

}  // namespace

void add_llm_options(CLI::App& app, LlmCliArgs& args) {
  const auto add = [&](const char* name, auto& value, const char* about) {
    return app.add_option(name, value, about)->group(kGroup);
  };
  add("--llm-url", args.url, "Base URL of an endpoint with OpenAI's /chat/completions")
      ->capture_default_str()
      ->type_name("URL");
  add("--llm-model", args.model, "The model's name there")->type_name("NAME");
  add("--llm-key-env", args.key_env, "Variable of the environment that holds the key")
      ->capture_default_str()
      ->type_name("VARIABLE");
  add("--llm-price-in", args.price_in, "Price of a million prompt tokens")
      ->check(CLI::NonNegativeNumber)
      ->type_name("MONEY");
  add("--llm-price-out", args.price_out, "Price of a million answer tokens")
      ->check(CLI::NonNegativeNumber)
      ->type_name("MONEY");
  add("--llm-samples", args.samples, "Requests in flight at most")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  add("--llm-timeout", args.timeout_s, "A request that takes longer is given up")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str()
      ->type_name("SECONDS");
  add("--llm-max-tokens", args.max_tokens, "Longest answer; default: the endpoint's own limit")
      ->check(whole_count());
  add("--llm-body", args.body,
      "Further fields of each request, as '{\"temperature\": 0.8}'; null takes one away")
      ->type_name("JSON");
  add("--llm-prompts", args.prompts,
      "A folder with prompts of your own; default: those that come with fib")
      ->check(CLI::ExistingDirectory)
      ->type_name("DIR");
}

Result<agents::LlmOptions> llm_options(const Context& context, const LlmCliArgs& args) {
  if (args.model.empty()) {
    return fail(ErrorCode::kInvalidInput, "the proposer llm needs a model", "--llm-model",
                "name one that the endpoint at --llm-url has");
  }
  agents::LlmOptions options{.url = args.url,
                             .model = args.model,
                             .key_name = args.key_env,
                             .prompts = args.prompts.empty()
                                            ? context.home.prompts() / kNewestPrompts
                                            : std::filesystem::path(args.prompts),
                             .abi = context.home.abi(),
                             .samples = args.samples,
                             .timeout_s = args.timeout_s,
                             .prices = {.prompt = args.price_in, .answer = args.price_out}};
  if (const char* key = std::getenv(args.key_env.c_str())) options.key = key;
  if (args.max_tokens > 0) options.max_answer_tokens = args.max_tokens;
  if (!args.body.empty()) {
    options.body = FIB_TRY(parse_json(args.body, "--llm-body"));
    if (!options.body.is_object()) {
      return fail(ErrorCode::kInvalidInput, "is not a JSON object", "--llm-body",
                  "as '{\"temperature\": 0.8}'");
    }
  }
  return options;
}

}  // namespace fib
