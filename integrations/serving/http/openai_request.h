#pragma once

// The bodies of /v1/completions and /v1/chat/completions, read strictly: a field that OpenAI's API
// doesn't have is an error, and so is one that it has and that can't be honoured here, unless it is
// at the value that asks for nothing.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/engine/request.h"
#include "integrations/serving/http/api_error.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace fib {

enum class OpenAiApi { kCompletions, kChat };

inline constexpr int kMostChoicesPerPrompt = 16;  // n
inline constexpr int kMostChoices = 128;          // of all prompts

// What a request gets that doesn't say, and what none may go beyond.
struct GenerationDefaults {
  float temperature = 1.0f;
  float top_p = 1.0f;
  int top_k = 0;       // 0: all
  int vocab_size = 0;  // of the model
  // Tokens that prompt and answer may have together: the model's positions, or what the cache holds
  // if that is less.
  int context_length = 0;
  // Requests that may wait in the engine's queue: who asks for more choices at once can't get them.
  size_t max_queued = kMostChoices;
};

struct RequestContext {
  const Tokenizer& tokenizer;
  const Result<ChatTemplate>& chat_template;  // an error: chats are refused with it
  const GenerationDefaults& defaults;
  std::string_view model_id;
  uint64_t fallback_seed = 0;  // for a request that names none
};

struct GenerationCall {
  OpenAiApi api = OpenAiApi::kCompletions;
  // One a choice, in the choices' order: the first prompt's n, then the second's. Without listener.
  std::vector<EngineRequest> requests;
  int choices_per_prompt = 1;
  bool is_stream = false;
  bool wants_usage_chunk = false;  // stream_options.include_usage
};

inline constexpr int kMostLogprobs = 20;
inline constexpr size_t kMostStopStrings = 4;
inline constexpr size_t kLongestStopString = 1024;  // bytes

ApiResult<GenerationCall> parse_generation_call(OpenAiApi api, std::string_view body,
                                                const RequestContext& context);

}  // namespace fib
