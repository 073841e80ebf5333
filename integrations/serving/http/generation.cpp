#include "integrations/serving/http/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fib {
namespace {

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

size_t count_characters(std::string_view utf8) {
  return static_cast<size_t>(
      std::ranges::count_if(utf8, [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

void LiveSequences::begin() {
  const std::lock_guard lock(mutex_);
  ++count_;
}

void LiveSequences::end() {
  const std::lock_guard lock(mutex_);
  --count_;
  changed_.notify_all();
}

void LiveSequences::wait_until_none() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return count_ == 0; });
}

HttpReply json_reply(const Json& body) { return {.body = dump_json(body) + "\n"}; }

HttpReply error_reply(const ApiError& error) {
  HttpReply reply = json_reply(api_error_json(error));
  reply.status = error.status;
  if (error.retry_after_s > 0)
    reply.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  if (!error.allowed_methods.empty()) reply.headers.emplace_back("Allow", error.allowed_methods);
  if (error.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

// Says what it hears to the generation, and lets go of it before the sequence counts as ended: from
// then on the server may be gone.
class Generation::Listener : public RequestListener {
 public:
  Listener(std::shared_ptr<Generation> generation, size_t choice)
      : generation_(std::move(generation)), live_(generation_->services_.live), choice_(choice) {}

  void on_token(const GeneratedToken& token) override {
    generation_->hear({.choice = choice_, .time = Clock::now(), .token = token});
  }

  void on_end(FinishReason reason, const RequestUsage& usage,
              const std::optional<Error>& error) override {
    std::exchange(generation_, nullptr)
        ->hear({.choice = choice_,
                .time = Clock::now(),
                .reason = reason,
                .usage = usage,
                .error = error});
    live_->end();
  }

 private:
  std::shared_ptr<Generation> generation_;
  std::shared_ptr<LiveSequences> live_;
  size_t choice_;
};

void Generation::start(const GenerationServices& services, GenerationCall call, ResponseHead head,
                       std::shared_ptr<HttpExchange> exchange) {
  const std::shared_ptr<Generation> generation(
      new Generation(services, call, std::move(head), exchange));
  exchange->on_gone([generation] {
    generation->is_closed_ = true;
    generation->cancel_all();
  });
  generation->submit(std::move(call.requests));
}

Generation::Generation(const GenerationServices& services, const GenerationCall& call,
                       ResponseHead head, std::shared_ptr<HttpExchange> exchange)
    : services_(services),
      head_(std::move(head)),
      choices_per_prompt_(call.choices_per_prompt),
      is_stream_(call.is_stream),
      wants_logprobs_(call.requests.front().sampling.logprobs >= 0),
      exchange_(std::move(exchange)) {
  choices_.reserve(call.requests.size());
  for (const EngineRequest& request : call.requests)
    choices_.emplace_back(static_cast<int>(choices_.size()), services_.tokenizer,
                          request.sampling.stop);
}

void Generation::submit(std::vector<EngineRequest> requests) {
  for (size_t i = 0; i < requests.size(); ++i) {
    services_.live->begin();
    requests[i].listener = std::make_shared<Listener>(shared_from_this(), i);
    const auto id = services_.engine.submit(std::move(requests[i]));
    if (!id) {  // all or nothing
      services_.live->end();
      fail_with(api_error_of(id.error()));
      return;
    }
    choices_[i].id = *id;
  }
}

void Generation::hear(Event event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  if (std::exchange(is_process_posted_, true)) return;
  exchange_->post([self = shared_from_this()] { self->process(); });
}

void Generation::process() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
    is_process_posted_ = false;
  }
  for (const Event& event : events) {
    Choice& choice = choices_[event.choice];
    if (event.token) {
      take_token(choice, event);
    } else {
      take_end(choice, event);
    }
  }
}

void Generation::take_token(Choice& choice, const Event& event) {
  if (choice.last_token_time == Clock::time_point()) {
    services_.metrics.first_token(seconds(event.time - submitted_));
  } else {
    services_.metrics.next_token(seconds(event.time - choice.last_token_time));
  }
  choice.last_token_time = event.time;
  // The engine may be a few tokens past a stop string when it hears that there was one.
  if (is_closed_ || !choice.finish_reason.empty()) return;
  ++choice.num_tokens;
  if (wants_logprobs_) choice.tokens.push_back({*event.token, choice.decoded_characters});
  release(choice, choice.decoder.push(event.token->token));
  if (choice.matcher.has_matched()) {
    finish_choice(choice, finish_reason_name(FinishReason::kStop));
    services_.engine.cancel(*choice.id);
  } else if (is_stream_) {
    send_chunk(choice);
  }
}

void Generation::take_end(Choice& choice, const Event& event) {
  choice.id.reset();
  choice.usage = event.usage;
  services_.metrics.sequence_ended(
      choice.finish_reason.empty() ? finish_reason_name(event.reason) : choice.finish_reason,
      {.queue_s = event.usage.queued_ns * 1e-9, .total_s = seconds(event.time - submitted_)});
  if (event.error && services_.on_failure) services_.on_failure(*event.error);
  if (is_closed_) return;
  if (choice.finish_reason.empty()) {
    if (event.reason == FinishReason::kError)
      return fail_with(api_error_of(event.error.value_or(
          Error{.code = ErrorCode::kUnsupported, .message = "the engine names no reason"})));
    if (event.reason == FinishReason::kCancelled)
      return fail_with({.status = 503,
                        .message = "The server is shutting down.",
                        .type = "server_error",
                        .code = "service_unavailable"});
    release(choice, choice.decoder.finish());
    choice.text += choice.matcher.finish();
    finish_choice(choice, finish_reason_name(choice.matcher.has_matched() ? FinishReason::kStop
                                                                          : event.reason));
  }
  if (++num_ended_ == choices_.size()) finish();
}

void Generation::release(Choice& choice, std::string text) {
  choice.decoded_characters += count_characters(text);
  text = choice.matcher.push(text);
  choice.released_characters += count_characters(text);
  choice.text += text;
}

// A token belongs to the text that it begins in: those that begin in held back text wait, and those
// of a stop string are dropped.
std::vector<AnswerToken> Generation::take_tokens(Choice& choice) {
  const bool has_ended = !choice.finish_reason.empty() && !choice.matcher.has_matched();
  if (has_ended || !(choice.matcher.holds_text() || choice.matcher.has_matched()))
    return std::exchange(choice.tokens, {});
  const auto end = std::ranges::find_if(choice.tokens, [&](const AnswerToken& token) {
    return token.text_offset >= choice.released_characters;
  });
  std::vector<AnswerToken> taken(std::make_move_iterator(choice.tokens.begin()),
                                 std::make_move_iterator(end));
  choice.tokens.erase(choice.tokens.begin(), end);
  return taken;
}

AnswerChoice Generation::take_answer(Choice& choice) {
  AnswerChoice answer{.index = choice.index, .text = std::exchange(choice.text, {})};
  if (!wants_logprobs_) return answer;
  const std::vector<AnswerToken> tokens = take_tokens(choice);
  if (!is_stream_ || !tokens.empty())
    answer.logprobs = logprobs_json(head_.api, tokens, services_.tokenizer);
  return answer;
}

void Generation::send_chunk(Choice& choice) {
  AnswerChoice answer = take_answer(choice);
  if (answer.text.empty() && !answer.logprobs) return;
  send(chunk_json(head_, std::move(answer), std::exchange(choice.place, ChunkPlace::kLater)));
}

void Generation::finish_choice(Choice& choice, std::string_view reason) {
  choice.finish_reason = reason;
  if (!is_stream_) return;
  send_chunk(choice);
  send(chunk_json(head_, {.index = choice.index, .finish_reason = reason},
                  std::exchange(choice.place, ChunkPlace::kLater)));
}

void Generation::finish() {
  is_closed_ = true;
  if (is_stream_) {
    if (head_.has_usage_chunk) exchange_->send(server_sent_event(usage_chunk_json(head_, usage())));
    exchange_->send(kLastEvent);
    return exchange_->finish_stream();
  }
  std::vector<AnswerChoice> answers;
  for (Choice& choice : choices_) {
    answers.push_back(take_answer(choice));
    answers.back().finish_reason = choice.finish_reason;
  }
  exchange_->reply(json_reply(response_json(head_, std::move(answers), usage())));
}

void Generation::fail_with(const ApiError& error) {
  is_closed_ = true;
  cancel_all();
  if (!has_opened_stream_) return exchange_->reply(error_reply(error));
  exchange_->send(server_sent_event(api_error_json(error)));
  exchange_->send(kLastEvent);
  exchange_->finish_stream();
}

void Generation::cancel_all() {
  for (const Choice& choice : choices_)
    if (choice.id) services_.engine.cancel(*choice.id);
}

TokenUsage Generation::usage() const {
  TokenUsage usage;
  for (const Choice& choice : choices_) {
    if (choice.index % choices_per_prompt_ == 0) {  // a prompt counts once
      usage.prompt_tokens += choice.usage.prompt_tokens;
      usage.cached_tokens += choice.usage.cached_tokens;
    }
    usage.completion_tokens +=
        choice.matcher.has_matched() ? choice.num_tokens : choice.usage.completion_tokens;
  }
  return usage;
}

// The answer is a stream from its first chunk on: an error before that has a status of its own.
void Generation::send(const Json& event) {
  if (!std::exchange(has_opened_stream_, true)) exchange_->start_stream("text/event-stream");
  exchange_->send(server_sent_event(event));
}

}  // namespace fib
