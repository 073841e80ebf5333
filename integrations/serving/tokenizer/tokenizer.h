#pragma once

// Text to tokens and back, as a Hugging Face tokenizer.json (byte-level BPE) has it.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/engine/request.h"

namespace fib {

class Tokenizer {
 public:
  // `folder` holds tokenizer.json and, if there is one, tokenizer_config.json. kUnsupported names
  // what of a tokenizer.json is not byte-level BPE, with its JSON pointer.
  static Result<Tokenizer> open(const std::filesystem::path& folder);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  enum class SpecialTokens {
    kParse,   // "<|im_start|>" in the text is that token: templates, and prompts as OpenAI's API
    kAsText,  // what a user typed
  };
  // kInvalidInput for text that is not UTF-8. Adds what the tokenizer's post-processor adds; what
  // it puts in front (a beginning-of-sequence token) only where the text doesn't start with it
  // already, as a rendered chat template does.
  Result<std::vector<TokenId>> encode(std::string_view text, SpecialTokens special) const;

  // The exact bytes of a token; empty for special tokens.
  std::string_view bytes(TokenId token) const;
  // The token as tokenizer.json spells it, for logprobs: "<|im_end|>", "\u0120the".
  std::string_view piece(TokenId token) const;
  bool is_special(TokenId token) const;
  std::optional<TokenId> find(std::string_view piece) const;
  int vocab_size() const;  // largest id + 1

  // All tokens' bytes; invalid UTF-8 becomes U+FFFD.
  std::string decode(const std::vector<TokenId>& tokens) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// Text of a growing sequence of tokens: holds back bytes that don't yet make a character.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  std::string push(TokenId token);  // what has become certain; may be empty
  std::string finish();             // what is left, broken characters as U+FFFD

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

// The chat template of a model, recognised among the common kinds (ChatML, Llama 2, Llama 3,
// Mistral, Gemma, Zephyr, ...) by its markers, not run as a program.
class ChatTemplate {
 public:
  // From tokenizer_config.json's chat_template or chat_template.jinja. A model without one gets
  // plain text: the messages one after the other, a blank line between. kUnsupported names a
  // template that is none of the known kinds.
  static Result<ChatTemplate> open(const std::filesystem::path& folder);
  std::string_view name() const { return name_; }  // "chatml", "llama3", ..., "none"
  // The prompt, up to where the assistant begins to speak. kInvalidInput names a role that the
  // template doesn't know.
  Result<std::string> render(const std::vector<ChatMessage>& messages) const;

  // What tells templates of one kind apart.
  struct Traits {
    std::string bos, eos;        // as tokenizer_config.json spells them; bos if the template has it
    std::string default_system;  // ChatML: said where the conversation begins without a system
    bool hides_thoughts = false;         // ChatML: Qwen 3 drops <think> from earlier answers
    bool opens_thoughts = false;         // ChatML: the assistant begins with <think>
    bool names_dates = false;            // Llama 3.1: a system message with dates, always
    bool has_system_block = false;       // Mistral: [SYSTEM_PROMPT]
    bool puts_system_last = false;       // Mistral: before the last user message, not the first
    bool ends_lines = false;             // Phi 3: lines end after roles and turns
    std::string inner_space, end_space;  // Mistral: after [INST], before [/INST]
  };

 private:
  std::string name_;
  Traits traits_;
};

}  // namespace fib
