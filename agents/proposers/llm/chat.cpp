#include "agents/proposers/llm/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "agents/proposers/llm/http.h"
#include "signatures/base/hash.h"

namespace fib::agents {

namespace {

constexpr auto kCancelInterval = std::chrono::milliseconds(50);

void sleep_for(double seconds, const std::function<bool()>& cancelled) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!cancelled() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kCancelInterval);
  }
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

Result<void> check_options(const LlmOptions& options) {
  const size_t scheme = options.url.find("://");
  const bool is_web = options.url.starts_with("http://") || options.url.starts_with("https://");
  if (!is_web || options.url.size() == scheme + 3 || !is_printable(options.url) ||
      options.url.find_first_of("?#@") != std::string::npos) {
    return fail(ErrorCode::kInvalidInput, fmt::format("'{}' is no base URL", options.url),
                "the endpoint's URL",
                "as https://api.openai.com/v1: no query, no name or password in it");
  }
  if (options.model.empty()) {
    return fail(ErrorCode::kInvalidInput, "no model is named", "the endpoint's model");
  }
  if (!is_printable(options.key)) {
    return fail(ErrorCode::kInvalidInput, "holds spaces, line ends or the like",
                "the key in " + options.key_name);
  }
  if (options.attempts < 1 || options.samples < 1 || !(options.timeout_s > 0.0)) {
    return fail(ErrorCode::kInvalidInput, "attempts, samples and the timeout must be positive",
                "the endpoint's options");
  }
  if (!options.body.is_null() && !options.body.is_object()) {
    return fail(ErrorCode::kInvalidInput, "is not a JSON object", "further fields of requests");
  }
  return {};
}

std::string endpoint_of(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url + "/chat/completions";
}

Refusal was_cancelled() { return {"cancelled", "the run was stopped while the model was asked"}; }

bool is_worth_repeating(int status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}

}  // namespace

// What one request came to: an answer, a refusal, or something that may pass.
struct ChatClient::Attempt {
  std::optional<ChatAnswer> answer;
  std::optional<Refusal> refusal;  // with neither: cancelled while waiting for it
  bool may_pass = false;           // then the refusal counts when there is no attempt left
  double retry_after_s = 0.0;
  bool is_unreachable = false;
};

Result<std::unique_ptr<ChatClient>> ChatClient::open(const LlmOptions& options) {
  FIB_CHECK(check_options(options));
  auto curl = FIB_TRY(CurlLibrary::open());
  return std::unique_ptr<ChatClient>(new ChatClient(options, std::move(curl)));
}

ChatClient::ChatClient(const LlmOptions& options, std::shared_ptr<const CurlLibrary> curl)
    : options_(options),
      endpoint_(endpoint_of(options.url)),
      curl_(std::move(curl)),
      free_samples_(options.samples) {
  if (!options_.wait) options_.wait = sleep_for;
}

Json ChatClient::request_body(const std::vector<Exchange>& messages, uint64_t seed) const {
  Json body{{"model", options_.model}, {"messages", Json::array()}, {"stream", false}};
  for (const Exchange& message : messages) {
    body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  body["seed"] = seed & 0x7fffffff;  // what every endpoint takes
  if (options_.max_answer_tokens) body["max_tokens"] = *options_.max_answer_tokens;
  if (options_.body.is_null()) return body;
  for (const auto& [name, value] : options_.body.items()) {
    if (value.is_null()) {
      body.erase(name);
    } else {
      body[name] = value;
    }
  }
  return body;
}

std::string ChatClient::without_key(std::string text) const {
  if (options_.key.empty()) return text;
  for (size_t at = text.find(options_.key); at != std::string::npos;
       at = text.find(options_.key, at)) {
    text.replace(at, options_.key.size(), "(key)");
  }
  return text;
}

Error ChatClient::error(ErrorCode code, std::string message, std::string remedy) const {
  return {.code = code,
          .message = without_key(std::move(message)),
          .where = endpoint_,
          .remedy = std::move(remedy)};
}

double ChatClient::wait_before(int attempt, uint64_t seed) const {
  const double steady = options_.first_wait_s * std::ldexp(1.0, std::min(attempt - 1, 30));
  // Jitter, so that samples that were turned away together don't come back together.
  const uint64_t draw = Hasher().add(seed).add(static_cast<uint64_t>(attempt)).u64();
  const double share = 0.5 + 0.5 * static_cast<double>(draw >> 11) * 0x1p-53;
  return std::min(steady, options_.longest_wait_s) * share;
}

Result<ChatClient::Attempt> ChatClient::attempt(const std::string& body,
                                                const std::function<bool()>& cancelled) {
  HttpRequest request{.url = endpoint_,
                      .headers = {"Content-Type: application/json", "Accept: application/json",
                                  "User-Agent: fib", "Expect:"},
                      .body = body,
                      .timeout_s = options_.timeout_s};
  if (!options_.key.empty()) request.headers.push_back("Authorization: Bearer " + options_.key);
  const HttpAnswer http = post(*curl_, request, cancelled);
  switch (http.trouble) {
    case HttpTrouble::kNone: break;
    case HttpTrouble::kCancelled: return Attempt{};
    case HttpTrouble::kTimeout:
      return Attempt{.refusal = Refusal{
                         "timeout", fmt::format("no answer within {:g} s", options_.timeout_s)}};
    case HttpTrouble::kUntrusted:
      return fail(error(ErrorCode::kEnvironment, http.explanation,
                        "the endpoint's certificate must be one that this machine trusts"));
    case HttpTrouble::kTooLarge:
      return Attempt{.refusal = Refusal{"endpoint", "its answer is too large"}};
    case HttpTrouble::kUnreachable:
    case HttpTrouble::kCut:
      return Attempt{.refusal = Refusal{"endpoint", http.explanation},
                     .may_pass = true,
                     .is_unreachable = http.trouble == HttpTrouble::kUnreachable};
  }
  has_answered_ = true;
  if (http.status == 200) {
    auto answer = read_chat_answer(http.body, body.size());
    if (answer) return Attempt{.answer = *std::move(answer)};
    return Attempt{.refusal = Refusal{"endpoint", without_key(answer.error().message)}};
  }
  const ChatTrouble trouble = read_chat_trouble(http.body);
  const std::string message = fmt::format("HTTP {}: {}", http.status, trouble.message);
  if (http.status == 401 || http.status == 403) {
    return fail(error(ErrorCode::kEnvironment, message,
                      options_.key.empty()
                          ? fmt::format("it wants a key, and {} is empty", options_.key_name)
                          : fmt::format("check the key in {}", options_.key_name)));
  }
  if (http.status == 404 || trouble.code == "model_not_found") {
    return fail(error(ErrorCode::kNotFound, message,
                      fmt::format("check the base URL and the model, '{}'", options_.model)));
  }
  if (http.status == 402 || trouble.code == "insufficient_quota") {
    return fail(error(ErrorCode::kResourceExhausted, message, "the account has to be topped up"));
  }
  if (http.status == 407 || http.status / 100 == 3) {
    return fail(error(ErrorCode::kEnvironment, message,
                      "name the URL that answers itself; proxies are those of https_proxy and "
                      "no_proxy"));
  }
  return Attempt{
      .refusal = Refusal{http.status == 429 ? "rate-limit" : "endpoint", without_key(message)},
      .may_pass = is_worth_repeating(http.status),
      .retry_after_s = http.retry_after_s};
}

Result<ChatOutcome> ChatClient::ask(const std::vector<Exchange>& messages, uint64_t seed,
                                    const std::function<bool()>& cancelled) {
  const std::string body = dump_json(request_body(messages, seed));
  while (!free_samples_.try_acquire_for(kCancelInterval)) {
    if (cancelled()) return ChatOutcome{.refusal = was_cancelled()};
  }
  auto outcome = ask_in_turn(body, seed, cancelled);
  free_samples_.release();
  return outcome;
}

Result<ChatOutcome> ChatClient::ask_in_turn(const std::string& body, uint64_t seed,
                                            const std::function<bool()>& cancelled) {
  ChatOutcome outcome;
  for (int number = 1;; ++number) {
    Attempt attempt = FIB_TRY(this->attempt(body, cancelled));
    if (attempt.answer) {  // also one that nobody waits for any more: it has its price
      outcome.answer = std::move(attempt.answer);
      return outcome;
    }
    if (cancelled() || !attempt.refusal) {
      outcome.refusal = was_cancelled();
      return outcome;
    }
    outcome.troubles.push_back(fmt::format("attempt {}: {}", number, attempt.refusal->message));
    const double wait_s = std::max(wait_before(number, seed), attempt.retry_after_s);
    const bool is_last = number >= options_.attempts || wait_s > options_.longest_wait_s;
    if (attempt.may_pass && !is_last) {
      options_.wait(wait_s, cancelled);
      continue;
    }
    if (attempt.is_unreachable && !has_answered_) {
      return fail(error(ErrorCode::kEnvironment, attempt.refusal->message,
                        "check the base URL, and the proxy (https_proxy, no_proxy)"));
    }
    outcome.refusal = std::move(attempt.refusal);
    return outcome;
  }
}

}  // namespace fib::agents
