#pragma once

// The bodies and server-sent events that OpenAI's API answers with.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/engine/request.h"
#include "integrations/serving/http/api_error.h"
#include "integrations/serving/http/openai_request.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace fib {

struct ResponseHead {
  OpenAiApi api = OpenAiApi::kCompletions;
  std::string id;  // "cmpl-...", "chatcmpl-..."
  std::string model;
  int64_t created_s = 0;         // Unix time
  bool has_usage_chunk = false;  // then every chunk has a usage, null but in the last
};

struct TokenUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt's
  int completion_tokens = 0;
};

// A token of an answer, for logprobs.
struct AnswerToken {
  GeneratedToken token;
  size_t text_offset = 0;  // characters of the answer before it
};

struct AnswerChoice {
  int index = 0;
  std::string text;
  std::string_view finish_reason;  // "stop" or "length"; in a chunk empty while it goes on
  std::optional<Json> logprobs;    // logprobs_json's
};

// Completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}.
// Chat: {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}.
Json logprobs_json(OpenAiApi api, std::span<const AnswerToken> tokens, const Tokenizer& tokenizer);

Json response_json(const ResponseHead& head, std::vector<AnswerChoice> choices, TokenUsage usage);

// One chunk of a stream. The first of a chat's choice tells the role.
enum class ChunkPlace { kFirst, kLater };
Json chunk_json(const ResponseHead& head, AnswerChoice choice, ChunkPlace place);
Json usage_chunk_json(const ResponseHead& head, TokenUsage usage);

std::string server_sent_event(const Json& data);  // "data: {...}\n\n"
inline constexpr std::string_view kLastEvent = "data: [DONE]\n\n";

Json models_json(std::string_view model, int64_t created_s, int context_length);
Json model_json(std::string_view model, int64_t created_s, int context_length);

}  // namespace fib
