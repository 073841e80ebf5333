#include "integrations/serving/http/openai_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "signatures/base/utf8.h"

namespace fib {
namespace {

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// As OpenAI spells tokens: their text, or "bytes:\xe2\x80" for a part of a character.
std::string token_text(TokenId token, const Tokenizer& tokenizer) {
  if (tokenizer.is_special(token)) return std::string(tokenizer.piece(token));
  const std::string_view bytes = tokenizer.bytes(token);
  if (is_utf8(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

Json token_bytes(TokenId token, const Tokenizer& tokenizer) {
  const std::string_view text =
      tokenizer.is_special(token) ? tokenizer.piece(token) : tokenizer.bytes(token);
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

// JSON has no -Infinity; OpenAI sends this instead.
double finite(float logprob) { return std::max(-9999.0, static_cast<double>(logprob)); }

Json chat_token(TokenId token, float logprob, const Tokenizer& tokenizer) {
  return {{"token", token_text(token, tokenizer)},
          {"logprob", finite(logprob)},
          {"bytes", token_bytes(token, tokenizer)}};
}

Json chat_logprobs(std::span<const AnswerToken> tokens, const Tokenizer& tokenizer) {
  Json content = Json::array();
  for (const AnswerToken& answer : tokens) {
    Json entry = chat_token(answer.token.token, answer.token.logprob, tokenizer);
    Json top = Json::array();
    for (const TokenLogprob& other : answer.token.top)
      top.push_back(chat_token(other.token, other.logprob, tokenizer));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json completions_logprobs(std::span<const AnswerToken> tokens, const Tokenizer& tokenizer) {
  Json texts = Json::array(), logprobs = Json::array(), tops = Json::array(),
       offsets = Json::array();
  for (const AnswerToken& answer : tokens) {
    const std::string text = token_text(answer.token.token, tokenizer);
    Json top = Json::object();
    for (const TokenLogprob& other : answer.token.top)
      top[token_text(other.token, tokenizer)] = finite(other.logprob);
    // The chosen token is always among them, likely or not.
    top[text] = finite(answer.token.logprob);
    texts.push_back(text);
    logprobs.push_back(finite(answer.token.logprob));
    tops.push_back(std::move(top));
    offsets.push_back(answer.text_offset);
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(texts)},
          {"top_logprobs", std::move(tops)}};
}

Json usage_json(TokenUsage usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json envelope(const ResponseHead& head, std::string_view object) {
  return {{"id", head.id}, {"object", object}, {"created", head.created_s}, {"model", head.model}};
}

std::string_view chunk_object(OpenAiApi api) {
  return api == OpenAiApi::kChat ? "chat.completion.chunk" : "text_completion";
}

Json text_or_null(std::string_view text) { return text.empty() ? Json(nullptr) : Json(text); }

}  // namespace

Json logprobs_json(OpenAiApi api, std::span<const AnswerToken> tokens, const Tokenizer& tokenizer) {
  return api == OpenAiApi::kChat ? chat_logprobs(tokens, tokenizer)
                                 : completions_logprobs(tokens, tokenizer);
}

Json response_json(const ResponseHead& head, std::vector<AnswerChoice> choices, TokenUsage usage) {
  const bool is_chat = head.api == OpenAiApi::kChat;
  Json list = Json::array();
  for (AnswerChoice& choice : choices) {
    Json entry = {{"index", choice.index}};
    if (is_chat) {
      entry["message"] = {
          {"role", "assistant"}, {"content", std::move(choice.text)}, {"refusal", nullptr}};
    } else {
      entry["text"] = std::move(choice.text);
    }
    entry["logprobs"] = choice.logprobs ? std::move(*choice.logprobs) : Json(nullptr);
    entry["finish_reason"] = choice.finish_reason;
    list.push_back(std::move(entry));
  }
  Json response = envelope(head, is_chat ? "chat.completion" : "text_completion");
  response["choices"] = std::move(list);
  response["usage"] = usage_json(usage);
  return response;
}

Json chunk_json(const ResponseHead& head, AnswerChoice choice, ChunkPlace place) {
  Json entry = {{"index", choice.index}};
  if (head.api == OpenAiApi::kChat) {
    Json delta = Json::object();
    if (place == ChunkPlace::kFirst) delta["role"] = "assistant";
    if (place == ChunkPlace::kFirst || !choice.text.empty())
      delta["content"] = std::move(choice.text);
    entry["delta"] = std::move(delta);
  } else {
    entry["text"] = std::move(choice.text);
  }
  entry["logprobs"] = choice.logprobs ? std::move(*choice.logprobs) : Json(nullptr);
  entry["finish_reason"] = text_or_null(choice.finish_reason);
  Json chunk = envelope(head, chunk_object(head.api));
  chunk["choices"] = Json::array({std::move(entry)});
  if (head.has_usage_chunk) chunk["usage"] = nullptr;
  return chunk;
}

Json usage_chunk_json(const ResponseHead& head, TokenUsage usage) {
  Json chunk = envelope(head, chunk_object(head.api));
  chunk["choices"] = Json::array();
  chunk["usage"] = usage_json(usage);
  return chunk;
}

std::string server_sent_event(const Json& data) { return "data: " + dump_json(data) + "\n\n"; }

Json model_json(std::string_view model, int64_t created_s, int context_length) {
  return {{"id", model},
          {"object", "model"},
          {"created", created_s},
          {"owned_by", "fib"},
          {"max_model_len", context_length}};
}

Json models_json(std::string_view model, int64_t created_s, int context_length) {
  return {{"object", "list"},
          {"data", Json::array({model_json(model, created_s, context_length)})}};
}

}  // namespace fib
