// Reading what a chat endpoint answers. Foreign, so read tolerantly: only what we use must be
// there.

#include <fmt/format.h>

#include <algorithm>

#include "agents/proposers/llm/chat.h"
#include "signatures/base/utf8.h"

namespace fib::agents {

namespace {

constexpr size_t kLongestMessage = 300;
constexpr int64_t kMostTokens = 1'000'000'000;  // a count beyond is no count

// Found or null, whatever `json` is.
const Json& member(const Json& json, std::string_view name) {
  static const Json kNull;
  if (!json.is_object()) return kNull;
  const auto found = json.find(name);
  return found == json.end() ? kNull : *found;
}

std::string string_or(const Json& json, std::string otherwise = {}) {
  return json.is_string() ? json.get<std::string>() : std::move(otherwise);
}

// A string, or parts of which those that are text count.
std::string text_of(const Json& content) {
  if (!content.is_array()) return string_or(content);
  std::string text;
  for (const Json& part : content) text += string_or(member(part, "text"));
  return text;
}

std::optional<int64_t> count_of(const Json& json) {
  if (!json.is_number_integer()) return std::nullopt;
  const auto count = json.get<int64_t>();
  if (count < 0 || count > kMostTokens) return std::nullopt;
  return count;
}

// Printable, whatever came over the wire.
std::string one_line(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    if (line.size() >= kLongestMessage) return line + "...";
    const size_t length = utf8_length(text);
    if (length == 0) {
      line.append(kReplacementCharacter);
    } else if (static_cast<unsigned char>(text.front()) < ' ') {
      line.push_back(' ');
    } else {
      line.append(text.substr(0, length));
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return line;
}

}  // namespace

ChatTrouble read_chat_trouble(std::string_view body) {
  const auto json = parse_json(body, "answer");
  if (!json) return {.message = body.empty() ? "no explanation" : one_line(body)};
  const Json& error = member(*json, "error");
  ChatTrouble trouble;
  for (const Json* place :
       {&member(error, "message"), &error, &member(*json, "message"), &member(*json, "detail")}) {
    if (trouble.message.empty()) trouble.message = one_line(string_or(*place));
  }
  if (trouble.message.empty()) trouble.message = one_line(body);
  trouble.code = string_or(member(error, "code"));
  return trouble;
}

Result<ChatAnswer> read_chat_answer(std::string_view body, size_t prompt_bytes) {
  const auto json = parse_json(body, "answer");
  if (!json) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("its answer isn't JSON: {}", one_line(body.substr(0, 100))));
  }
  const Json& choices = member(*json, "choices");
  if (!choices.is_array() || choices.empty()) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("its answer has no choices: {}", read_chat_trouble(body).message));
  }
  const Json& message = member(choices.front(), "message");
  if (!message.is_object()) {
    return fail(ErrorCode::kInvalidInput, "its answer has a choice without a message");
  }
  ChatAnswer answer;
  answer.text = text_of(member(message, "content"));
  answer.declined = string_or(member(message, "refusal"));
  answer.is_cut_off = string_or(member(choices.front(), "finish_reason")) == "length";
  const Json& usage = member(*json, "usage");
  const auto prompt = count_of(member(usage, "prompt_tokens"));
  const auto completion = count_of(member(usage, "completion_tokens"));
  if (prompt && completion) {
    answer.usage = {.prompt_tokens = *prompt, .answer_tokens = *completion};
  } else {
    answer.usage = estimated_usage(prompt_bytes, answer.text.size());
  }
  return answer;
}

}  // namespace fib::agents
