// Chat templates, each kind as a function. They are recognised by what their Jinja source
// contains, which also tells the variants of a kind apart.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>

#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/file.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

using Traits = ChatTemplate::Traits;
using Messages = std::vector<ChatMessage>;

constexpr std::string_view kSpace = " \t\n\r\f\v";

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string_view trim_lines(std::string_view text) {
  while (text.starts_with('\n')) text.remove_prefix(1);
  while (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// A leading system message, and the others. Templates that know no system role put it before the
// first thing the user says.
struct Conversation {
  std::string_view system;
  bool has_system = false;
  std::span<const ChatMessage> turns;
};
Conversation split_system(const Messages& messages) {
  if (messages.empty() || messages[0].role != "system") return {.turns = messages};
  return {messages[0].content, true, std::span(messages).subspan(1)};
}

Result<void> check_roles(const Messages& messages, std::initializer_list<std::string_view> known) {
  for (const ChatMessage& message : messages)
    if (std::ranges::find(known, message.role) == known.end())
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the model's chat template knows no role '{}'", message.role), "",
                  fmt::format("roles are {}", fmt::join(known, ", ")));
  return {};
}

// Roles must take turns: user, assistant, user.
Result<void> check_turns(std::span<const ChatMessage> turns) {
  for (size_t i = 0; i < turns.size(); ++i)
    if (turns[i].role != (i % 2 == 0 ? "user" : "assistant"))
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the model's chat template wants user and assistant in turns, and "
                              "message {} after the system's is of '{}'",
                              i, turns[i].role));
  return {};
}

// Messages one after the other, for models that were never taught a form.
Result<std::string> render_plain(const Traits&, const Messages& messages) {
  std::string prompt;
  for (const ChatMessage& message : messages) {
    if (!prompt.empty()) prompt += "\n\n";
    prompt += message.content;
  }
  return prompt;
}

// What a model thought before it answered is left out of earlier turns.
std::string_view without_thoughts(std::string_view content) {
  constexpr std::string_view kEnd = "</think>";
  const size_t end = content.rfind(kEnd);
  if (end == std::string_view::npos) return content;
  content.remove_prefix(end + kEnd.size());
  while (content.starts_with('\n')) content.remove_prefix(1);
  return content;
}

std::string_view thoughts(std::string_view content) {
  constexpr std::string_view kStart = "<think>";
  std::string_view text = content.substr(0, content.find("</think>"));
  if (const size_t start = text.rfind(kStart); start != std::string_view::npos)
    text.remove_prefix(start + kStart.size());
  return trim_lines(text);
}

// Position of the last message in which a user asks (rather than a tool answers in its name).
size_t last_query(const Messages& messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    const bool is_answer = messages[i].content.starts_with("<tool_response>") &&
                           messages[i].content.ends_with("</tool_response>");
    if (messages[i].role == "user" && !is_answer) return i;
  }
  return messages.empty() ? 0 : messages.size() - 1;
}

// What tools answered stands in one user turn.
std::string render_tool_answer(const Messages& messages, size_t i) {
  std::string text;
  if (i == 0 || messages[i - 1].role != "tool") text += "<|im_start|>user";
  text += fmt::format("\n<tool_response>\n{}\n</tool_response>", messages[i].content);
  if (i + 1 == messages.size() || messages[i + 1].role != "tool") text += "<|im_end|>\n";
  return text;
}

Result<std::string> render_chatml(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant", "tool"}));
  std::string prompt = traits.bos;
  if (!traits.default_system.empty() && (messages.empty() || messages[0].role != "system"))
    prompt += fmt::format("<|im_start|>system\n{}<|im_end|>\n", traits.default_system);
  const size_t query = last_query(messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "tool") {
      prompt += render_tool_answer(messages, i);
      continue;
    }
    if (role == "assistant" && traits.hides_thoughts) {
      const bool has_thoughts = content.find("</think>") != std::string::npos;
      const bool is_last = i + 1 == messages.size();
      prompt += "<|im_start|>assistant\n";
      if (i > query && (is_last || (has_thoughts && !thoughts(content).empty())))
        prompt += fmt::format("<think>\n{}\n</think>\n\n", has_thoughts ? thoughts(content) : "");
      prompt += fmt::format("{}<|im_end|>\n", without_thoughts(content));
      continue;
    }
    prompt += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", role, content);
  }
  prompt += "<|im_start|>assistant\n";
  if (traits.opens_thoughts) prompt += "<think>\n";
  return prompt;
}

Result<std::string> render_llama2(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  const Conversation conversation = split_system(messages);
  FIB_CHECK(check_turns(conversation.turns));
  std::string prompt;
  bool is_first = true;
  for (const auto& [role, content] : conversation.turns) {
    if (role == "assistant") {
      prompt += fmt::format(" {} {}", trim(content), traits.eos);
      continue;
    }
    std::string said = content;
    if (is_first && conversation.has_system)
      said = fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n{}", conversation.system, content);
    is_first = false;
    prompt += fmt::format("{}[INST] {} [/INST]", traits.bos, trim(said));
  }
  return prompt;
}

Result<std::string> render_mistral(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  const Conversation conversation = split_system(messages);
  FIB_CHECK(check_turns(conversation.turns));
  std::string prompt = traits.bos;
  if (conversation.has_system && traits.has_system_block)
    prompt += fmt::format("[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]", conversation.system);
  const size_t turns = conversation.turns.size();
  // Without a block of its own the system's text stands before what the user says last (newer
  // templates) or first.
  const size_t host = !traits.puts_system_last || turns == 0 ? 0 : (turns - 1) / 2 * 2;
  for (size_t i = 0; i < turns; ++i) {
    const std::string& content = conversation.turns[i].content;
    if (i % 2 == 1) {
      prompt += fmt::format("{}{}{}", traits.inner_space, content, traits.eos);
      continue;
    }
    const bool takes_system = conversation.has_system && !traits.has_system_block && i == host;
    prompt += fmt::format("[INST]{}", traits.inner_space);
    if (takes_system) prompt += fmt::format("{}\n\n", conversation.system);
    prompt += fmt::format("{}{}[/INST]", content, traits.end_space);
  }
  return prompt;
}

Result<std::string> render_llama3(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant", "tool"}));
  const auto header = [](std::string_view role) {
    return fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role);
  };
  std::string prompt = traits.bos;
  std::span<const ChatMessage> turns = messages;
  if (traits.names_dates) {
    // The date that the template itself falls back to: a prompt doesn't depend on the day.
    const Conversation conversation = split_system(messages);
    turns = conversation.turns;
    prompt += fmt::format(
        "{}Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        "{}<|eot_id|>",
        header("system"), trim(conversation.system));
  }
  for (const auto& [role, content] : turns)
    prompt +=
        fmt::format("{}{}<|eot_id|>", header(role == "tool" ? "ipython" : role), trim(content));
  return prompt + header("assistant");
}

Result<std::string> render_gemma(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  const Conversation conversation = split_system(messages);
  FIB_CHECK(check_turns(conversation.turns));
  std::string prompt = traits.bos;
  std::string before_first =
      conversation.has_system ? fmt::format("{}\n\n", conversation.system) : "";
  for (const auto& [role, content] : conversation.turns) {
    prompt += fmt::format("<start_of_turn>{}\n{}{}<end_of_turn>\n",
                          role == "assistant" ? "model" : role, before_first, trim(content));
    before_first.clear();
  }
  return prompt + "<start_of_turn>model\n";
}

Result<std::string> render_zephyr(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  std::string prompt = traits.bos;
  for (const auto& [role, content] : messages)
    prompt += fmt::format("<|{}|>\n{}{}\n", role, content, traits.eos);
  return prompt + "<|assistant|>\n";
}

// As Zephyr's, but that only the assistant's turns end with a token.
Result<std::string> render_tulu(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  std::string prompt = traits.bos;
  for (const auto& [role, content] : messages)
    prompt += fmt::format("<|{}|>\n{}{}\n", role, content, role == "assistant" ? traits.eos : "");
  return prompt + "<|assistant|>\n";
}

Result<std::string> render_phi3(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  const std::string_view line = traits.ends_lines ? "\n" : "";
  std::string prompt = traits.bos;
  for (const auto& [role, content] : messages)
    prompt += fmt::format("<|{}|>{}{}<|end|>{}", role, line, content, line);
  return prompt + fmt::format("<|assistant|>{}", line);
}

// Phi 4: ChatML with a token where others end the line.
Result<std::string> render_phi4(const Traits& traits, const Messages& messages) {
  FIB_CHECK(check_roles(messages, {"system", "user", "assistant"}));
  std::string prompt = traits.bos;
  for (const auto& [role, content] : messages)
    prompt += fmt::format("<|im_start|>{}<|im_sep|>{}<|im_end|>", role, content);
  return prompt + "<|im_start|>assistant<|im_sep|>";
}

struct Kind {
  std::string_view name;
  std::array<std::string_view, 2> markers;  // all must be in the template
  Result<std::string> (*render)(const Traits&, const Messages&);
};

// The first whose markers are there; special forms stand before what they look like.
constexpr Kind kKinds[] = {
    {"phi4", {"<|im_start|>", "<|im_sep|>"}, render_phi4},
    {"chatml", {"<|im_start|>", "<|im_end|>"}, render_chatml},
    {"llama3", {"<|start_header_id|>", "<|eot_id|>"}, render_llama3},
    {"gemma", {"<start_of_turn>", "<end_of_turn>"}, render_gemma},
    {"llama2", {"[INST]", "<<SYS>>"}, render_llama2},
    {"mistral", {"[INST]", "[/INST]"}, render_mistral},
    {"phi3", {"<|assistant|>", "<|end|>"}, render_phi3},
    {"tulu", {"<|user|>\n' + message['content'] + '\n'", "<|assistant|>"}, render_tulu},
    {"zephyr", {"<|user|>\n' + message['content'] + eos_token", "<|assistant|>"}, render_zephyr},
};
constexpr Kind kPlain = {"none", {}, render_plain};

// Templates spell the end of a line as itself or, in a Jinja string, as "\\n".
std::string with_plain_line_ends(std::string source) {
  for (size_t at = source.find("\\n"); at != std::string::npos; at = source.find("\\n", at + 1))
    source.replace(at, 2, "\n");
  return source;
}

// Qwen 2 and 2.5 give a conversation without a system message their own, in the template.
std::string default_system(std::string_view source) {
  constexpr std::string_view kStart = "<|im_start|>system\nYou are", kText = "You are";
  const size_t at = source.find(kStart);
  if (at == std::string_view::npos) return {};
  const size_t begin = at + kStart.size() - kText.size();
  const std::string_view text = source.substr(begin, source.find("<|im_end|>", begin) - begin);
  // The string ends first: what it says depends on more than there being no system message.
  if (text.find('\'') != std::string_view::npos) return {};
  return std::string(text);
}

Traits traits_of(std::string_view source) {
  const auto has = [&](std::string_view text) {
    return source.find(text) != std::string_view::npos;
  };
  Traits traits;
  traits.default_system = default_system(source);
  traits.hides_thoughts = has("</think>") && has("last_query_index");
  traits.opens_thoughts = has("<|im_start|>assistant\n<think>\n'");
  traits.ends_lines = has("<|end|>\n");
  traits.names_dates = has("Cutting Knowledge Date");
  traits.has_system_block = has("[SYSTEM_PROMPT]");
  traits.puts_system_last = has("loop.last");
  traits.inner_space = has("[INST] ") ? " " : "";
  traits.end_space = has(" [/INST]") ? " " : "";
  return traits;
}

// "bos_token" is a text, or an added token with its flags.
Result<std::string> token_text(const JsonView& config, std::string_view key) {
  const auto member = config.find(key);
  if (!member) return std::string();
  if (member->json().is_object()) return FIB_TRY(member->at("content")).string();
  return member->string();
}

// A template, or a list of named ones of which "default" is for chats.
Result<std::string> source_in(const JsonView& config) {
  const auto view = config.find("chat_template");
  if (!view) return std::string();
  if (!view->json().is_array()) return view->string();
  for (const JsonView& entry : FIB_TRY(view->array())) {
    const JsonView name = FIB_TRY(entry.at("name"));
    if (FIB_TRY(name.string()) == "default") return FIB_TRY(entry.at("template")).string();
  }
  return view->error("no template is named 'default'");
}

}  // namespace

Result<ChatTemplate> ChatTemplate::open(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  Json json = Json::object();
  if (std::filesystem::exists(path)) json = FIB_TRY(read_json_file(path));
  const JsonView config(json, path.string());

  const std::filesystem::path jinja = folder / "chat_template.jinja";
  const bool is_apart = std::filesystem::exists(jinja);
  const std::string source =
      with_plain_line_ends(is_apart ? FIB_TRY(read_file(jinja)) : FIB_TRY(source_in(config)));
  ChatTemplate made;
  made.name_ = kPlain.name;
  if (source.empty()) return made;

  const auto* kind = std::ranges::find_if(kKinds, [&](const Kind& candidate) {
    return std::ranges::all_of(candidate.markers, [&](std::string_view marker) {
      return source.find(marker) != std::string::npos;
    });
  });
  if (kind == std::end(kKinds)) {
    std::vector<std::string_view> names;
    for (const Kind& known : kKinds) names.push_back(known.name);
    return fail(ErrorCode::kUnsupported, "the chat template is none of the known kinds",
                is_apart ? jinja.string() : path.string() + ": /chat_template",
                fmt::format("known are {}; fib serve has /v1/completions, for prompts in the model's form",
                            fmt::join(names, ", ")));
  }
  made.name_ = kind->name;
  made.traits_ = traits_of(source);
  if (source.find("bos_token") != std::string::npos)
    made.traits_.bos = FIB_TRY(token_text(config, "bos_token"));
  made.traits_.eos = FIB_TRY(token_text(config, "eos_token"));
  return made;
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages) const {
  const auto* kind = std::ranges::find(kKinds, std::string_view(name_), &Kind::name);
  return (kind == std::end(kKinds) ? kPlain : *kind).render(traits_, messages);
}

}  // namespace fib
