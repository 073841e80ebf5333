#pragma once

// What a client asks of the engine, and what it gets.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

using TokenId = int32_t;
using RequestId = uint64_t;

struct SamplingParams {
  int max_tokens = 16;
  float temperature = 1.0f;  // 0: the most likely token, ties to the lowest id
  int top_k = 0;             // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;  // over prompt and output, as in Hugging Face transformers
  float presence_penalty = 0.0f;    // over the output, as OpenAI defines them
  float frequency_penalty = 0.0f;
  std::map<TokenId, float> logit_bias;
  uint64_t seed = 0;  // the same seed and prompt give the same output
  int logprobs = -1;  // -1: none; n: of the chosen token and the n most likely
  bool ignore_eos = false;
  std::vector<TokenId> stop_tokens;  // beside the model's own end-of-text
  // Texts that end the answer and are not part of it. The engine, which sees tokens only, leaves
  // them to the layer that turns tokens into text: it holds text back while a stop text can begin
  // in it, and when one is complete it cancels the request and reports kStop.
  std::vector<std::string> stop;

  // kInvalidInput names the field and its range.
  Result<void> check(int vocab_size) const;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0f;  // natural logarithm, of the distribution before temperature
};

struct GeneratedToken {
  TokenId token = 0;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top;  // SamplingParams::logprobs of them, likeliest first
};

enum class FinishReason { kStop, kLength, kCancelled, kError };
std::string_view finish_reason_name(FinishReason reason);  // "stop", "length", "cancelled", "error"

struct RequestUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, found in the prefix cache
  int completion_tokens = 0;
  int preemptions = 0;
  double queued_ns = 0.0;  // from submit() to its first step; 0: it came to none
};

// What happens to a request, in order: tokens, then exactly one end. The token that stops a request
// (end-of-text, a stop token) is counted in the usage but not shown. Called from the engine's
// thread; must not block. May call Engine::cancel: then no further token comes.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual void on_token(const GeneratedToken& token) = 0;
  // `error` is set for kError only.
  virtual void on_end(FinishReason reason, const RequestUsage& usage,
                      const std::optional<Error>& error) = 0;
};

// One sequence. `n` completions of a prompt are n requests (they share the prompt's blocks).
struct EngineRequest {
  std::vector<TokenId> prompt;
  SamplingParams sampling;
  int priority = 0;  // lower first; within one, first come first served
  std::shared_ptr<RequestListener> listener;
};

}  // namespace fib
