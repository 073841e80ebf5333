#pragma once

// One API request on its way through the engine: its choices' tokens become text, the text becomes
// a response or a stream of chunks.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "integrations/serving/engine/engine.h"
#include "integrations/serving/http/exchange.h"
#include "integrations/serving/http/metrics.h"
#include "integrations/serving/http/openai_request.h"
#include "integrations/serving/http/openai_response.h"
#include "integrations/serving/http/stop_matcher.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace fib {

// The sequences that the engine has not yet ended. What they report to must outlive them.
class LiveSequences {
 public:
  void begin();
  void end();
  void wait_until_none();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// Hears of each sequence that the engine ends with an error; from the server's threads.
using FailureListener = std::function<void(const Error&)>;

// What generations use; outlives them.
struct GenerationServices {
  Engine& engine;
  const Tokenizer& tokenizer;
  Metrics& metrics;
  std::shared_ptr<LiveSequences> live;
  FailureListener on_failure;  // may be empty
};

HttpReply error_reply(const ApiError& error);
HttpReply json_reply(const Json& body);

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Submits the call's requests and answers on `exchange`, on whose strand this must be called.
  static void start(const GenerationServices& services, GenerationCall call, ResponseHead head,
                    std::shared_ptr<HttpExchange> exchange);

 private:
  using Clock = std::chrono::steady_clock;
  class Listener;

  // What a listener heard, on the engine's thread.
  struct Event {
    size_t choice = 0;
    Clock::time_point time;
    std::optional<GeneratedToken> token;  // nullopt: the end
    FinishReason reason = FinishReason::kStop;
    RequestUsage usage;
    std::optional<Error> error;
  };

  struct Choice {
    Choice(int index, const Tokenizer& tokenizer, std::vector<std::string> stops)
        : index(index), decoder(tokenizer), matcher(std::move(stops)) {}

    int index = 0;
    std::optional<RequestId> id;  // while the engine has it
    TextStream decoder;
    StopMatcher matcher;
    size_t decoded_characters = 0;          // pushed into the matcher
    size_t released_characters = 0;         // let out by it
    std::string text;                       // released; of a stream, not yet sent
    std::vector<AnswerToken> tokens;        // for logprobs; of a stream, not yet sent
    int num_tokens = 0;                     // up to a stop string's end
    ChunkPlace place = ChunkPlace::kFirst;  // of the next chunk
    std::string_view finish_reason;         // empty while it goes on
    RequestUsage usage;                     // once it has ended
    Clock::time_point last_token_time;
  };

  Generation(const GenerationServices& services, const GenerationCall& call, ResponseHead head,
             std::shared_ptr<HttpExchange> exchange);

  void hear(Event event);  // from the engine's thread
  void process();          // the rest: on the strand
  void submit(std::vector<EngineRequest> requests);
  void take_token(Choice& choice, const Event& event);
  void take_end(Choice& choice, const Event& event);
  void release(Choice& choice, std::string text);
  void send_chunk(Choice& choice);
  void finish_choice(Choice& choice, std::string_view reason);
  void finish();
  void fail_with(const ApiError& error);
  void cancel_all();

  std::vector<AnswerToken> take_tokens(Choice& choice);
  AnswerChoice take_answer(Choice& choice);
  TokenUsage usage() const;
  void send(const Json& event);

  const GenerationServices services_;
  const ResponseHead head_;
  const int choices_per_prompt_;
  const bool is_stream_;
  const bool wants_logprobs_;
  const Clock::time_point submitted_ = Clock::now();

  const std::shared_ptr<HttpExchange> exchange_;
  bool is_closed_ = false;  // answered, or nobody is there to answer: nothing may be sent
  bool has_opened_stream_ = false;
  std::vector<Choice> choices_;
  size_t num_ended_ = 0;

  std::mutex mutex_;  // over what follows, which the engine's thread writes
  std::vector<Event> events_;
  bool is_process_posted_ = false;
};

}  // namespace fib
