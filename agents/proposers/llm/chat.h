#pragma once

// A chat endpoint in the shape of OpenAI's: asks, and asks again where that helps. Knows nothing of
// kernels.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <vector>

#include "agents/proposers/llm.h"
#include "agents/proposers/llm/curl_library.h"

namespace fib::agents {

struct ChatAnswer {
  std::string text;         // empty where the model said nothing, or declined
  std::string declined;     // its reason, where the endpoint tells one apart
  bool is_cut_off = false;  // at the limit of tokens
  TokenUsage usage;
};

struct ChatOutcome {
  std::optional<ChatAnswer> answer;  // one of these two
  std::optional<Refusal> refusal;
  std::vector<std::string> troubles;  // of attempts that came to nothing, in words
};

class ChatClient {
 public:
  // Only what concerns the endpoint is read of the options.
  static Result<std::unique_ptr<ChatClient>> open(const LlmOptions& options);

  // Thread-safe; waits while `samples` others are being asked. `messages`: roles "system", "user",
  // "assistant". `seed` decides the jitter of waits and goes with the request. An Error means that
  // the next request will fare no better: wrong key, no such model, nothing left to pay with,
  // nobody there.
  Result<ChatOutcome> ask(const std::vector<Exchange>& messages, uint64_t seed,
                          const std::function<bool()>& cancelled);

 private:
  struct Attempt;
  ChatClient(const LlmOptions& options, std::shared_ptr<const CurlLibrary> curl);
  Result<ChatOutcome> ask_in_turn(const std::string& body, uint64_t seed,
                                  const std::function<bool()>& cancelled);
  Json request_body(const std::vector<Exchange>& messages, uint64_t seed) const;
  Result<Attempt> attempt(const std::string& body, const std::function<bool()>& cancelled);
  Error error(ErrorCode code, std::string message, std::string remedy) const;
  double wait_before(int attempt, uint64_t seed) const;
  std::string without_key(std::string text) const;

  LlmOptions options_;
  std::string endpoint_;
  std::shared_ptr<const CurlLibrary> curl_;
  std::counting_semaphore<> free_samples_;
  std::atomic<bool> has_answered_ = false;  // then an endpoint that is gone may come back
};

// Of a body of status 200: the answer, its usage estimated where the endpoint doesn't say. Error:
// not the shape of one; `where` is empty.
Result<ChatAnswer> read_chat_answer(std::string_view body, size_t prompt_bytes);

// What a body of another status says of the reason.
struct ChatTrouble {
  std::string message;  // bounded, one line
  std::string code;     // "model_not_found", "insufficient_quota", ...; may be empty
};
ChatTrouble read_chat_trouble(std::string_view body);

}  // namespace fib::agents
